"""Pages and pictures from saved results.

`write(folder)` makes one self-contained HTML page of what `stiffgrad compare` saved, `write_picture` its first picture
as a file; `read` and `pictures` give the results and single figures to scripts.
"""

from stiffgrad._extras import needing

with needing("report", "stiffgrad.report"):
    from stiffgrad.report import pictures
    from stiffgrad.report._cells import Damage, Reached, Result, read
    from stiffgrad.report.comparison import page, write, write_picture

__all__ = ["Damage", "Reached", "Result", "page", "pictures", "read", "write", "write_picture"]
