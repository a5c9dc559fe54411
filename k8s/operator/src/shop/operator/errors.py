"""The error that shopctl prints in one line before it exits with a code other than 0."""


class ShopctlError(RuntimeError):
    """A problem that the user can fix; the message says what and how."""
