"""What all of the repository's tools that run programs raise on purpose."""


class ToolError(Exception):
    """The root of the tree; its message is meant to be shown to a person as it is."""


class StartError(ToolError):
    """A program did not start as it should; `tail` is the end of what it logged since its start."""

    def __init__(self, message: str, tail: str = "") -> None:
        super().__init__(f"{message}\n{tail}" if tail else message)
        self.tail = tail
