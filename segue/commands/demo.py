"""segue demo."""


def demo() -> None: ...
