"""Say in one line which files a data set needs, if they are neither here nor to be had.

Runs before anything is set up, so it needs Python alone: `need_data.py cifar10 TARGET`. What a
file must be is repeated from data_prep/cifar.py and svhn.py; a test compares them.
"""

import os
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

CACHE = Path(".cache/data")
PROBE_SECONDS = 3.0
PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")

# Each data set: the files that are fetched (name, bytes, SHA-256), where from, and by what other
# names a folder of the user's may hold it.
NEEDED = {
    "cifar10": (
        [(
            "cifar-10-binary.tar.gz", 170052171,
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        )],
        "https://www.cs.toronto.edu/~kriz/",
        ["cifar-10-batches-bin", "test_batch.bin", "cifar-10-python.tar.gz",
         "cifar-10-batches-py", "test_batch"],
    ),
    "svhn": (
        [
            (
                "train_32x32.mat", 182040794,
                "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8",
            ),
            (
                "test_32x32.mat", 64275384,
                "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b",
            ),
            (
                "extra_32x32.mat", 1329278602,
                "a133a4beb38a00fcdda90c9489e0c04f900b660ce8a316a5e854838379a71eb3",
            ),
        ],
        "http://ufldl.stanford.edu/housenumbers/",
        [],
    ),
}  # fmt: skip


def reachable(url):
    """Whether the host of a URL takes a connection."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname, port), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


def missing(dataset, folder):
    """The files that must be put into `folder`, or None where the data can be had."""
    files, url, others = NEEDED[dataset]
    if folder is not None:
        if any((folder / name).exists() for name in others):
            return None
        return [one for one in files if not (folder / one[0]).is_file()] or None
    absent = [one for one in files if not (CACHE / one[0]).is_file()]
    prepared = any(Path("data").glob(f"{dataset}-*/manifest.json"))
    proxied = any(os.environ.get(name) for name in PROXIES)  # whether it serves is not known yet
    return absent if absent and not (prepared or proxied or reachable(url)) else None


def main():
    dataset, target = sys.argv[1:]
    chosen = os.environ.get("DATA_DIR")
    folder = Path(chosen) if chosen else None
    if absent := missing(dataset, folder):
        _, url, _ = NEEDED[dataset]
        names = ", ".join(f"{name} ({size:,} bytes, SHA-256 {sha})" for name, size, sha in absent)
        where = f"into {folder}" if folder else "into a folder of yours"
        again = f"make {target}" + ("" if folder else " DATA_DIR=/that/folder")
        sys.exit(f"{dataset}: put {names} from {url} {where}, then `{again}`")


if __name__ == "__main__":
    main()
