import pytest

from salver.storage.unpack import archive_suffix


@pytest.mark.parametrize(
    ("name", "media_type", "suffix"),
    [
        ("m.zip", "", ".zip"),
        ("M.TAR.GZ", "", ".tar.gz"),
        ("m.tgz", "application/octet-stream", ".tgz"),
        ("m.tar.bz2", "", ".tar.bz2"),
        ("m.tar.xz", "", ".tar.xz"),
        ("download", "application/zip", ".zip"),
        ("download", "application/x-tar; charset=binary", ".tar"),
        ("download", "text/html", ""),
        ("m.skops", "application/zip", ""),
        ("m.joblib.gz", "application/gzip", ""),
        ("m.keras", "application/zip", ""),
    ],
)
def test_archives_are_known_by_name_and_else_by_type(
    name: str, media_type: str, suffix: str
) -> None:
    assert archive_suffix(name, media_type) == suffix
