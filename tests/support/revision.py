"""A first draft of a new revision of the loyalty database: `python -m tests.support.revision > draft.py`.

Prints what lies between the last revision and `loyalty/tables.py`. Read it before it goes into
`loyalty/migrations/versions`: checks are not compared, and a table made anew needs its triggers again.
"""

import tempfile
from pathlib import Path
from typing import Any

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData, String

from audit import outbox
from loyalty import engines, migrations, tables


def everything() -> MetaData:
    """All tables of the database: loyalty's own and the outbox."""
    whole = MetaData(naming_convention=tables.METADATA.naming_convention)
    for table in (*outbox.METADATA.sorted_tables, *tables.METADATA.sorted_tables):
        table.to_metadata(whole)
    return whole


def render_item(kind: str, item: Any, _context: Any) -> str | bool:
    """`short(40)` for text that compares by code point; everything else as alembic writes it."""
    if kind == "type" and isinstance(item, String) and item.length is not None and item._variant_mapping:
        return f"short({item.length})"
    return False


def draft(revision: str) -> str:
    """The operations of an upgrade from `revision` (`base`: from nothing) as Python text."""
    with tempfile.TemporaryDirectory() as folder:
        url = engines.url_of(Path(folder) / "loyalty.db")
        if revision != "base":
            migrations.bring_forward(url)
        engine = engines.migrating(url)
        with engine.connect() as connection:
            options = {
                "render_item": render_item,
                "target_metadata": everything(),
                "user_module_prefix": None,
            }
            prefixes = {"sqlalchemy_module_prefix": "sa.", "alembic_module_prefix": "op."}
            context = MigrationContext.configure(connection, opts=options | prefixes)
            script = produce_migrations(context, everything())
        engine.dispose()
    assert script.upgrade_ops is not None
    return render_python_code(
        script.upgrade_ops,
        render_as_batch=revision != "base",
        render_item=render_item,
        migration_context=context,
    )


if __name__ == "__main__":
    print(draft("head"))
