"""A column for text that is compared byte for byte, whatever the database's collation.

MySQL's and MariaDB's usual collations ignore case and trailing blanks, and two open_ids
that differ in case are two people.
"""

from __future__ import annotations

from typing import Any

from django.db import models


class ByteTextField(models.CharField):
    """Text whose case and trailing blanks count."""

    def db_type(self, connection: Any) -> str:
        """Return the column's type."""
        if connection.vendor == "mysql":
            return f"varbinary({self.max_length})"  # it has no collation
        if connection.vendor == "postgresql":
            return f'varchar({self.max_length}) COLLATE "C"'
        return f"varchar({self.max_length})"

    def rel_db_type(self, connection: Any) -> str:
        """Return the type of a column that refers to this one."""
        return self.db_type(connection)

    def from_db_value(self, value: Any, *_: Any) -> Any:
        """Return text, where the driver gives the bytes of a binary column."""
        return value.decode() if isinstance(value, bytes) else value
