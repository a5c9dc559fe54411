"""The error that shopctl prints in one line before it exits with a code other than 0, and what others say in it."""


class ShopctlError(RuntimeError):
    """A problem that the user can fix; the message says what and how."""


def reason_of(error: Exception) -> str:
    """What an error says, for a message; timeouts and lost connections often say nothing themselves."""
    return "timed out" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
