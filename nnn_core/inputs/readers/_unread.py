"""Formats that are not read, with what turns them into one that is."""

from __future__ import annotations

_PICKLE = ("a pickle", "It may run code. Save its arrays with numpy.save or as safetensors.")
_ARCHIVE = ("an archive", "Unpack it, or pack the files into a .tar.")
_COMPRESSED = ("compressed by a method other than gzip and Zstandard", "Decompress it, or use gzip or zstd.")
_PICTURE = ("an image of a format other than JPEG, PNG, WebP, AVIF and HEIC", "Convert it to PNG.")

#: (what files with these suffixes are, what to do)
_UNREAD = {
    (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"): _PICKLE,
    (".zip", ".7z", ".rar"): _ARCHIVE,
    (".bz2", ".xz", ".lz4", ".br"): _COMPRESSED,
    (".gif", ".bmp", ".tif", ".tiff", ".jxl"): _PICTURE,
    (".lance",): ("Lance", "Write it as Parquet: lance.dataset(...).to_table(), then pyarrow.parquet.write_table."),
    (".orc",): ("ORC", "Write it as Parquet: pyarrow.orc.read_table, then pyarrow.parquet.write_table."),
    (".avro",): ("Avro", "Write it as Parquet, or its records as JSON lines (.jsonl)."),
    (".tfrecord", ".tfrecords"): ("TFRecord", "Write it as Parquet, or its samples as a webdataset .tar."),
    (".beton", ".mds", ".mdb"): ("a sample store of one library", "Write its samples as a webdataset .tar."),
    (".mat", ".zarr"): ("an array", "Save it with numpy.save, as rows of float32."),
    (".fvecs", ".bvecs", ".fbin", ".u8bin", ".i8bin"): ("vectors", "Save them with numpy.save, as rows of float32."),
    (".xls", ".xlsx", ".ods"): ("a spreadsheet", "Save it as .csv."),
    (".db", ".sqlite", ".duckdb"): ("a database", "Write the table as Parquet."),
}

#: How such files begin that lie under other names, and what they are.
_BEGINS = {
    b"\xfd7zXZ\0": ".xz",
    b"BZh": ".bz2",
    b"\x80\x02": ".pkl",
    b"\x80\x04\x95": ".pkl",
    b"ORC": ".orc",
    b"Obj\x01": ".avro",
    b"SQLite format 3": ".db",
}


def suffix_told_by(head: bytes) -> str:
    """The suffix that a file with these first bytes should have, if it is one of those; else empty."""
    return next((suffix for mark, suffix in _BEGINS.items() if head.startswith(mark)), "")


def remedy_for(uri: str, suffix: str = "") -> str:
    """What a file or folder is, and what to do with it; empty if nothing is known of such suffixes.

    Args:
        uri: where it is, as messages name it.
        suffix: the suffix that it should have; by default that of its name.
    """
    for suffixes, (what, remedy) in _UNREAD.items():
        if (suffix or uri).lower().endswith(suffixes):
            return f"{uri!r} is {what}, which is not supported. {remedy}"
    return ""
