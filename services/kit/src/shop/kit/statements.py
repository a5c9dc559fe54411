"""Parts of SQL statements."""

from __future__ import annotations


def expected_few(column: str) -> str:
    """A condition that every uuid fulfils, for the rows of a batch that are joined with a table by ``column``.

    PostgreSQL expects 100 rows of jsonb_to_recordset and 10 of unnest. While a table is small it then plans to read all
    of it instead of looking rows up, and such a plan stays in use until the next analysis, when the table may have
    thousands of rows. With this condition it expects one row in 200, and a single row is looked up by its index.
    """
    return f"{column} BETWEEN '00000000-0000-0000-0000-000000000000' AND 'ffffffff-ffff-ffff-ffff-ffffffffffff'"
