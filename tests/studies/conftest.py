"""What tests of the studies' figures share."""

import pytest
from PIL import Image

from synthjax.studies import canvas


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Calls a function with a path; returns the Figure, once its file has proved to be a PNG, and the only file."""
    kept = []
    save = canvas.save
    monkeypatch.setattr(canvas, "save", lambda figure, path: (kept.append(figure), save(figure, path)))

    def draw(function, *args, **options):
        path = tmp_path / "figure.png"
        function(path, *args, **options)
        assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]
        with Image.open(path) as image:
            assert image.format == "PNG" and 200 < image.width < 1600 and 200 < image.height < 1600
        return kept.pop()

    return draw
