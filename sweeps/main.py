"""x"""


def main(s): ...
