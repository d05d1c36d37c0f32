"""Fill the demo's legacy database, once. Takes the arguments of `python -m demo_clinics`.

A database that already holds the demo's tables is left as it is, and that is a success.
"""

from demo_clinics.__main__ import main

if __name__ == "__main__":
    try:
        main()
    except FileExistsError:
        print("The legacy database is filled already; nothing was changed.")  # noqa: T201
