"""What shopctl tells a person in one line before it ends with a code other than 0."""


class ShopctlError(RuntimeError):
    """Something that the person at the terminal can put right; the message says what and how."""
