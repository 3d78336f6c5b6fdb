"""Pages and pictures from saved results.

`write(folder)` makes one self-contained HTML page of what `stiffgrad compare` saved, `write_picture` its first picture
as a file; `read` and `pictures` give the results and single figures to scripts.
"""

from stiffgrad._extras import needing

with needing("report", "stiffgrad.report"):
    from stiffgrad.report import pictures
    from stiffgrad.report._cells import Cell, Damage, Target, read
    from stiffgrad.report.comparison import page, write, write_picture

__all__ = ["Cell", "Damage", "Target", "page", "pictures", "read", "write", "write_picture"]
