"""`python -m shop.operator.cli`."""

from shop.operator.cli.shopctl import main

if __name__ == "__main__":
    main()
