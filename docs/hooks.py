"""What a page is as a file of the repository, and what it is on the site, where the docstrings stand on it.

Docstrings name things by roles, such as ``:func:`mirror```, which the generator would show as they stand.
"""

import re

ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):(?=<code>)")
UNFILLED = "> `make docs` fills this page, from the docstrings of what is named below.\n"


def on_page_markdown(markdown, **_):
    """Leave out what is said to those who read the page as a file, where it is empty."""
    return markdown.replace(UNFILLED, "", 1)


def on_page_content(html, **_):
    """Leave the roles out of a page."""
    return ROLE.sub("", html)
