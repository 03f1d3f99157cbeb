// A GPU by name: a device "cuda:0" whose memory is the processor's, and whose operations are done there.
//
// Tensors on it are told from those of the CPU as they are with a real one: an operation on both is refused, but for numbers, copies
// and indices, and what is asked of a number goes by way of a copy. So code that mixes devices fails here as it does there. What
// takes time, what is queued and how a GPU rounds cannot be seen here.

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <c10/core/impl/alloc_cpu.h>
#include <torch/library.h>

#include <cstring>
#include <set>
#include <string>
#include <vector>

namespace {

const c10::Device GPU(c10::DeviceType::CUDA, 0);
const c10::Device CPU(c10::DeviceType::CPU);

// ---- One device with one stream, on which everything is done at once.

struct Guard final : c10::impl::DeviceGuardImplInterface {
  static c10::Stream stream() { return c10::Stream(c10::Stream::DEFAULT, GPU); }
  c10::DeviceType type() const override { return GPU.type(); }
  c10::Device exchangeDevice(c10::Device) const override { return GPU; }
  c10::Device getDevice() const override { return GPU; }
  void setDevice(c10::Device) const override {}
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device) const override { return stream(); }
  c10::Stream getDefaultStream(c10::Device) const override { return stream(); }
  c10::Stream getNewStream(c10::Device, int) const override { return stream(); }
  c10::Stream exchangeStream(c10::Stream) const override { return stream(); }
  c10::DeviceIndex deviceCount() const noexcept override { return 1; }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const c10::Stream&) const override { return true; }
  void synchronizeStream(const c10::Stream&) const override {}
  void synchronizeEvent(void*) const override {}
  void synchronizeDevice(c10::DeviceIndex) const override {}
};
C10_REGISTER_GUARD_IMPL(CUDA, Guard)

struct Memory final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    void* begin = c10::alloc_cpu(bytes);
    return {begin, begin, &c10::free_cpu, GPU};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &c10::free_cpu; }
  void copy_data(void* to, const void* from, std::size_t bytes) const override { std::memcpy(to, from, bytes); }
};
Memory memory;
REGISTER_ALLOCATOR(c10::DeviceType::CUDA, &memory)

// ---- Tensors of one device over the memory of the other.

at::Tensor over(const at::Tensor& tensor, c10::Device device, c10::DispatchKey key, c10::Allocator* allocator) {
  const c10::Storage& storage = tensor.storage();
  auto release = [](void* held) { delete static_cast<c10::Storage*>(held); };
  c10::DataPtr pointer(storage.mutable_data(), new c10::Storage(storage), release, device);
  c10::Storage shared(c10::Storage::use_byte_size_t(), storage.nbytes(), std::move(pointer), allocator, true);
  auto found = at::detail::make_tensor<c10::TensorImpl>(std::move(shared), c10::DispatchKeySet(key), tensor.dtype());
  found.unsafeGetTensorImpl()->set_sizes_and_strides(tensor.sizes(), tensor.strides(), tensor.storage_offset());
  found._set_conj(tensor.is_conj());
  found._set_neg(tensor.is_neg());
  return found;
}

at::Tensor on_cpu(const at::Tensor& tensor) {
  return tensor.defined() && tensor.is_cuda() ? over(tensor, CPU, c10::DispatchKey::CPU, c10::GetCPUAllocator()) : tensor;
}

at::Tensor on_gpu(const at::Tensor& tensor) {
  return tensor.defined() && !tensor.is_cuda() ? over(tensor, GPU, c10::DispatchKey::CUDA, &memory) : tensor;
}

// A tensor that an operation wrote into and may have given other memory or another shape.
void follow(const at::Tensor& tensor, const at::Tensor& written) {
  if (tensor.storage().data() != written.storage().data()) {
    tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(on_gpu(written).storage());
  }
  if (tensor.sizes() != written.sizes() || tensor.strides() != written.strides()) {
    tensor.unsafeGetTensorImpl()->set_sizes_and_strides(written.sizes(), written.strides(), written.storage_offset());
  }
}

// ---- Any operation: refused where it mixes devices, else done by the processor's kernel.

const std::set<std::string> INDEXED = {
    "aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"};

// Whether an operation on a GPU takes this argument from the CPU too: indices, and numbers of operations that go value by value.
bool from_the_cpu(const c10::OperatorHandle& op, const c10::Argument& argument, const at::Tensor& tensor) {
  if (INDEXED.count(op.schema().name())) {
    return argument.name() == "indices";
  }
  const bool written = argument.alias_info() && argument.alias_info()->isWrite();
  return tensor.dim() == 0 && !written && op.hasTag(at::Tag::pointwise);
}

struct Seen {
  const c10::OperatorHandle& op;
  bool gpu = false;
  std::string cpu;
  at::Tensor operator()(const at::Tensor& tensor, const c10::Argument& argument) {
    if (tensor.defined()) {
      if (tensor.is_cuda()) {
        gpu = true;
      } else if (!from_the_cpu(op, argument, tensor)) {
        cpu = c10::str(tensor.sizes());
      }
    }
    return on_cpu(tensor);
  }
};

c10::IValue given(const c10::IValue& value, const c10::Argument& argument, Seen& seen) {
  if (value.isTensor()) {
    return seen(value.toTensor(), argument);
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      list.push_back(seen(tensor, argument));
    }
    return list;
  }
  if (value.isOptionalTensorList()) {
    c10::List<std::optional<at::Tensor>> list;
    for (std::optional<at::Tensor> tensor : value.toOptionalTensorList()) {
      list.push_back(tensor ? std::optional<at::Tensor>(seen(*tensor, argument)) : std::nullopt);
    }
    return list;
  }
  if (value.isDevice() && value.toDevice().is_cuda()) {
    seen.gpu = true;
    return CPU;
  }
  return value;
}

c10::IValue taken(const c10::IValue& value) {
  if (value.isTensor()) {
    return on_gpu(value.toTensor());
  }
  if (value.isTensorList()) {
    c10::List<at::Tensor> list;
    for (const at::Tensor& tensor : value.toTensorVector()) {
      list.push_back(on_gpu(tensor));
    }
    return list;
  }
  return value;
}

void by_the_processor(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const c10::FunctionSchema& schema = op.schema();
  const auto& arguments = schema.arguments();
  const auto& returns = schema.returns();
  const std::vector<c10::IValue> before(stack->end() - arguments.size(), stack->end());
  Seen seen{op};
  for (size_t place = 0; place < arguments.size(); ++place) {
    c10::IValue& value = *(stack->end() - arguments.size() + place);
    value = given(value, arguments[place], seen);
  }
  TORCH_CHECK(
      !seen.gpu || seen.cpu.empty(),
      "Expected all tensors to be on the same device, but found cuda:0 and cpu ", seen.cpu, " in ", schema.name());
  op.redispatchBoxed(c10::DispatchKeySet(c10::DispatchKey::CPU), stack);
  for (size_t number = 0; number < returns.size(); ++number) {
    c10::IValue& value = *(stack->end() - returns.size() + number);
    const c10::AliasInfo* alias = returns[number].alias_info();
    if (!alias || !alias->isWrite() || !value.isTensor()) {
      value = taken(value);
      continue;
    }
    for (size_t place = 0; place < arguments.size(); ++place) {
      const c10::AliasInfo* its = arguments[place].alias_info();
      if (its && its->isWrite() && *its == *alias && before[place].isTensor()) {
        if (before[place].toTensor().is_cuda()) {
          follow(before[place].toTensor(), value.toTensor());
        }
        value = before[place];
        break;
      }
    }
  }
}

TORCH_LIBRARY_IMPL(_, CUDA, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&by_the_processor>());
}

// ---- What makes memory, looks at it in another way, or carries it from one device to the other.

using Sizes = c10::SymIntArrayRef;
using Type = std::optional<c10::ScalarType>;
const c10::DispatchKeySet KEYS(c10::DispatchKey::CUDA);

at::Tensor empty(
    Sizes sizes, Type type, std::optional<c10::Layout>, std::optional<c10::Device>, std::optional<bool>,
    std::optional<c10::MemoryFormat> format) {
  return at::detail::empty_generic(C10_AS_INTARRAYREF_SLOW(sizes), &memory, KEYS, c10::dtype_or_default(type), format);
}

at::Tensor empty_strided(
    Sizes sizes, Sizes strides, Type type, std::optional<c10::Layout>, std::optional<c10::Device>, std::optional<bool>) {
  return at::detail::empty_strided_generic(
      C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides), &memory, KEYS, c10::dtype_or_default(type));
}

at::Tensor& copy(at::Tensor& to, const at::Tensor& from, bool) {
  on_cpu(to).copy_(on_cpu(from));
  return to;
}

at::Tensor as_strided(const at::Tensor& tensor, Sizes sizes, Sizes strides, std::optional<c10::SymInt> offset) {
  std::optional<int64_t> begin;
  if (offset) {
    begin = offset->guard_int(__FILE__, __LINE__);
  }
  return at::native::as_strided_tensorimpl(tensor, C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides), begin);
}

at::Tensor view(const at::Tensor& tensor, Sizes sizes) {
  return at::native::view(tensor, C10_AS_INTARRAYREF_SLOW(sizes));
}

at::Tensor reshape_alias(const at::Tensor& tensor, Sizes sizes, Sizes strides) {
  return at::native::_reshape_alias(tensor, C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides));
}

at::Tensor& set_part(at::Tensor& tensor, at::Storage storage, c10::SymInt offset, Sizes sizes, Sizes strides) {
  tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(storage));
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(
      C10_AS_INTARRAYREF_SLOW(sizes), C10_AS_INTARRAYREF_SLOW(strides), offset.guard_int(__FILE__, __LINE__));
  return tensor;
}

at::Tensor& set_whole(at::Tensor& tensor, at::Storage storage) {
  const int64_t values = static_cast<int64_t>(storage.nbytes() / tensor.dtype().itemsize());
  tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(std::move(storage));
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(at::IntArrayRef{values}, at::IntArrayRef{1});
  return tensor;
}

at::Tensor& set_tensor(at::Tensor& tensor, const at::Tensor& other) {
  tensor.unsafeGetTensorImpl()->set_storage_keep_dtype(other.storage());
  tensor.unsafeGetTensorImpl()->set_sizes_and_strides(other.sizes(), other.strides(), other.storage_offset());
  return tensor;
}

// Of these torch would do something else, since it takes a backend that has no kernel of its own for one that has none at all.
const char* const OWN[] = {"convolution", "convolution_backward", "native_group_norm", "native_layer_norm"};

TORCH_LIBRARY_IMPL(aten, CUDA, library) {
  library.impl("empty.memory_format", &empty);
  library.impl("empty_strided", &empty_strided);
  library.impl("copy_", &copy);
  library.impl("as_strided", &as_strided);
  library.impl("view", &view);
  library.impl("_reshape_alias", &reshape_alias);
  library.impl("unfold", &at::native::unfold);
  library.impl("set_.source_Storage_storage_offset", &set_part);
  library.impl("set_.source_Storage", &set_whole);
  library.impl("set_.source_Tensor", &set_tensor);
  for (const char* name : OWN) {
    library.impl(name, torch::CppFunction::makeFromBoxedFunction<&by_the_processor>());
  }
}

}  // namespace

// ---- What torch asks of CUDA itself; it looks for a class of this name.

struct CUDAHooks final : at::CUDAHooksInterface {
  explicit CUDAHooks(at::CUDAHooksArgs) {}
  void init() const override {}
  bool hasCUDA() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override { return at::detail::getDefaultCPUGenerator(); }
  at::Generator getNewGenerator(c10::DeviceIndex) const override { return at::detail::createCPUGenerator(); }
  c10::DeviceIndex current_device() const override { return 0; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  int getNumGPUs() const override { return 1; }
  at::Allocator* getPinnedMemoryAllocator() const override { return c10::GetCPUAllocator(); }
  void deviceSynchronize(c10::DeviceIndex) const override {}
};

namespace at {
REGISTER_CUDA_HOOKS(CUDAHooks);
}
