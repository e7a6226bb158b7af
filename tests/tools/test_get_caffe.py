"""tools/get_caffe.sh with stand-ins for apt-get and dpkg: no network, no packages."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "get_caffe.sh"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or not KEYRING.is_file() or shutil.which("awk") is None,
    reason="the script needs x86-64 Linux with Debian's keyring",
)

# apt-get: a call fails if it has the word in FAKE_FAIL; `install` and `download` leave a package.
APT = """#!/bin/sh
echo "$*" >>"$FAKE_LOG"
case " $* " in *" $FAKE_FAIL "*) echo "E: failed" >&2; exit 100;; esac
for word; do
  case $word in
  Dir::Cache=*) cache=${word#*=};;
  Dir::Etc::sourcelist=*) cat "${word#*=}" >>"$FAKE_LOG";;
  esac
done
case " $* " in
*" install "*) : >"$cache/archives/caffe.deb";;
*" caffe-doc/bullseye "*) : >caffe-doc_1.0_all.deb;;
*" download "*) : >libopenblas0.deb;;
esac
"""
# dpkg: caffe-doc unpacks to two nets, one of them gzipped, and a web page; every other package
# to a loader that tells how it was started.
DPKG = """#!/bin/sh
case $2 in *caffe-doc*)
  doc=$3/usr/share/doc/caffe-doc
  mkdir -p "$doc/examples/mnist" "$doc/models/big" "$doc/html"
  echo 'name: "LeNet"' >"$doc/examples/mnist/lenet.prototxt"
  echo 'name: "Big"' | gzip >"$doc/models/big/deploy.prototxt.gz"
  : >"$doc/html/index.html"
  exit;;
esac
lib=$3/lib/x86_64-linux-gnu
mkdir -p "$lib"
cat >"$lib/ld-linux-x86-64.so.2" <<'LOADER'
#!/bin/sh
echo "log=$GLOG_logtostderr home=$PYTHONHOME arguments=$*"
LOADER
chmod 755 "$lib/ld-linux-x86-64.so.2"
"""


class Machine:
    """A PATH with stand-ins in front, and an apt configuration of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etc = folder / "etc"
        (self.etc / "sources.list.d").mkdir(parents=True)
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log = folder / "apt.log"
        for name, text in (("apt-get", APT), ("dpkg", DPKG)):
            (self.bin / name).write_text(text)
            (self.bin / name).chmod(0o755)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        base = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "APT_ETC": str(self.etc),
            "FAKE_LOG": str(self.log),
            "FAKE_FAIL": "nothing",
        }
        return subprocess.run(
            ["/bin/bash", str(SCRIPT), *arguments],
            env=base | environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


DEB822 = """\
Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security

# a comment
Types: deb deb-src
# between fields
URIs: http://first.example/debian http://second.example/debian
Suites: bookworm bookworm-updates
Components: main
"""


@pytest.mark.parametrize(
    ("file", "text", "mirror"),
    [
        ("sources.list.d/debian.sources", DEB822, "http://first.example/debian"),
        (
            "sources.list.d/debian.sources",
            "Enabled: no\n" + DEB822.split("\n\n")[1] + "\nTypes: deb\n"
            "URIs: https://other.example/debian\nSuites:\n trixie\n trixie-updates\n",
            "https://other.example/debian",
        ),
        (
            "sources.list",
            "# deb http://commented.example/debian bookworm main\n"
            "deb-src http://source.example/debian bookworm main\n"
            "deb http://vendor.example/apt tool main\n"
            "deb [arch=amd64 signed-by=/a/b.gpg] http://list.example/debian bookworm main\n",
            "http://list.example/debian",
        ),
    ],
)
def test_the_mirror_is_that_of_the_machines_own_apt(
    machine: Machine, file: str, text: str, mirror: str
) -> None:
    (machine.etc / file).write_text(text)
    result = machine.run("prefix")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[0].endswith(f"from {mirror}")


def test_debian_mirror_overrides_the_configuration(machine: Machine) -> None:
    (machine.etc / "sources.list.d" / "debian.sources").write_text(DEB822)
    result = machine.run("prefix", DEBIAN_MIRROR="http://mine.example/debian")
    assert result.stdout.splitlines()[0].endswith("from http://mine.example/debian")


def test_without_a_mirror_one_line_says_what_to_do(machine: Machine) -> None:
    result = machine.run("prefix")
    assert result.returncode != 0
    assert len(result.stderr.splitlines()) == 1
    assert "DEBIAN_MIRROR" in result.stderr


def test_packages_are_verified_by_debians_keyring(machine: Machine) -> None:
    """The source list names the keyring, and no option switches verification off."""
    machine.run("prefix", DEBIAN_MIRROR="http://mine.example/debian")
    log = machine.log.read_text()
    assert f"signed-by={KEYRING}] http://mine.example/debian bullseye main" in log
    assert "trusted=yes" not in log
    assert "nauthenticated" not in log
    assert "nsecure" not in log


def test_the_wrappers_survive_a_move(machine: Machine) -> None:
    assert machine.run("prefix", DEBIAN_MIRROR="http://m").returncode == 0
    moved = machine.folder / "elsewhere" / "caffe prefix"
    moved.parent.mkdir()
    (machine.folder / "prefix").rename(moved)
    link = machine.folder / "caffe"
    link.symlink_to(moved / "wrap" / "caffe")
    for command in (moved / "wrap" / "caffe", link):
        answer = subprocess.run(
            [command, "train", "a b"], capture_output=True, text=True, check=True
        )
        assert answer.stdout.rstrip().endswith(f"{moved}/usr/bin/caffe train a b")
    python = subprocess.run(
        [moved / "wrap" / "python3-caffe", "-V"], capture_output=True, text=True, check=True
    )
    assert f"home={moved}/usr " in python.stdout
    assert python.stdout.rstrip().endswith(f"{moved}/usr/bin/python3.9 -V")


@pytest.mark.parametrize(("given", "used"), [(None, "1"), ("0", "0"), ("1", "1")])
def test_caffe_logs_to_stderr_unless_the_user_says_otherwise(
    machine: Machine, given: str | None, used: str
) -> None:
    machine.run("prefix", DEBIAN_MIRROR="http://m")
    environment = {"PATH": os.environ["PATH"]} | ({"GLOG_logtostderr": given} if given else {})
    answer = subprocess.run(
        [machine.folder / "prefix" / "wrap" / "caffe"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.startswith(f"log={used} ")


def test_a_working_prefix_is_left_alone(machine: Machine) -> None:
    machine.run("prefix", DEBIAN_MIRROR="http://m")
    before = machine.log.read_text()
    result = machine.run("prefix", DEBIAN_MIRROR="http://m")
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) == 1
    assert "already" in result.stdout
    assert machine.log.read_text() == before


def test_a_folder_that_is_no_caffe_is_not_overwritten(machine: Machine) -> None:
    (machine.folder / "prefix").mkdir()
    (machine.folder / "prefix" / "thesis.txt").write_text("mine")
    result = machine.run("prefix", DEBIAN_MIRROR="http://m")
    assert result.returncode != 0
    assert len(result.stderr.splitlines()) == 1
    assert (machine.folder / "prefix" / "thesis.txt").read_text() == "mine"


EXAMPLES = {"examples/mnist/lenet.prototxt": "LeNet", "models/big/deploy.prototxt": "Big"}


def _examples(prefix: Path) -> dict[str, str]:
    """The files below the prefix's caffe-doc, with the name of the net in each."""
    folder = prefix / "usr" / "share" / "doc" / "caffe-doc"
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_text().split('"')[1] for path in files}


def test_caffes_example_nets_are_unpacked_as_text_and_nothing_else_of_them(
    machine: Machine,
) -> None:
    machine.run("prefix", DEBIAN_MIRROR="http://m")
    assert _examples(machine.folder / "prefix") == EXAMPLES


@pytest.fixture
def old_prefix(machine: Machine) -> Path:
    """A prefix as the script left it before it fetched the example nets."""
    machine.run("prefix", DEBIAN_MIRROR="http://m")
    shutil.rmtree(machine.folder / "prefix" / "usr")
    machine.log.unlink()
    return machine.folder / "prefix"


def test_a_prefix_without_the_example_nets_gets_them_alone(
    machine: Machine, old_prefix: Path
) -> None:
    result = machine.run("prefix", DEBIAN_MIRROR="http://m")
    assert result.returncode == 0, result.stderr
    assert _examples(old_prefix) == EXAMPLES
    assert " install " not in machine.log.read_text()
    assert "already" in machine.run("prefix", DEBIAN_MIRROR="http://m").stdout
    assert not list(machine.folder.glob("prefix.*"))


@pytest.mark.parametrize("fault", ["update", "caffe-doc/bullseye", "no mirror"])
def test_a_working_caffe_is_no_failure_where_the_example_nets_cannot_be_had(
    machine: Machine, old_prefix: Path, fault: str
) -> None:
    """`make test` without a network goes on with the Caffe that is there."""
    mirror = {} if fault == "no mirror" else {"DEBIAN_MIRROR": "http://m"}
    result = machine.run("prefix", FAKE_FAIL=fault, **mirror)
    assert result.returncode == 0
    assert "but not Caffe's example nets" in result.stdout
    assert result.stderr.splitlines()[-1].startswith("get_caffe: ")
    assert _examples(old_prefix) == {}
    assert not list(machine.folder.glob("prefix.*"))


@pytest.mark.parametrize("step", ["update", "install", "download", "caffe-doc/bullseye"])
def test_a_failed_step_leaves_nothing_behind(machine: Machine, step: str) -> None:
    (machine.folder / "there").mkdir()
    result = machine.run("there/prefix", DEBIAN_MIRROR="http://m", FAKE_FAIL=step)
    assert result.returncode != 0
    assert result.stderr.splitlines()[-1].startswith("get_caffe: ")
    assert list((machine.folder / "there").iterdir()) == []


def test_what_a_killed_run_left_is_removed(machine: Machine) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    for pid in (dead.pid, os.getpid()):
        (machine.folder / f"prefix.partial.{pid}").mkdir()
    assert machine.run("prefix", DEBIAN_MIRROR="http://m").returncode == 0
    left = [path.name for path in machine.folder.glob("prefix*")]
    assert sorted(left) == ["prefix", f"prefix.partial.{os.getpid()}"]


def test_a_machine_without_apt_is_told_what_is_needed_in_one_line(machine: Machine) -> None:
    bare = machine.folder / "bare"
    bare.mkdir()
    for program in ("uname", "dirname", "id"):
        (bare / program).symlink_to(shutil.which(program) or program)
    result = machine.run("prefix", PATH=str(bare), DEBIAN_MIRROR="http://m")
    assert result.returncode != 0
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert "x86-64 Linux" in line
    assert line.endswith("missing here: apt-get,dpkg")


def test_a_wrong_call_prints_the_usage(machine: Machine) -> None:
    for arguments in ((), ("a", "b"), ("--help",)):
        result = machine.run(*arguments)
        assert result.returncode != 0
        assert result.stderr == "get_caffe: usage: get_caffe.sh PREFIX\n"
