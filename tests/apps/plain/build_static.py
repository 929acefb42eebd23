"""Make the static files, in the application's own folder."""

from pathlib import Path

folder = Path(__file__).parent / 'static'
(folder / 'site.css').write_text('body { color: black }')
