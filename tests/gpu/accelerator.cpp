// What torch's backward pass asks before it takes tensors of a GPU. To be loaded before torch, whose own answer goes by how it was
// built.

#include <c10/core/DeviceType.h>

#include <optional>

namespace at::accelerator {

std::optional<c10::DeviceType> getAccelerator(bool) { return c10::DeviceType::CUDA; }

bool isAccelerator(c10::DeviceType device) { return device == c10::DeviceType::CUDA; }

}  // namespace at::accelerator
