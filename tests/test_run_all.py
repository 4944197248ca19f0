"""run_all.sh, with a stand-in for Python that writes down how it was called: nothing is installed."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PYTHON = shlex.quote(sys.executable)  # this clone, too, may lie in a folder with a space in its name
STAND_IN = f"""#!/bin/sh
if [ "$1" = -c ]; then exec {PYTHON} "$@"; fi
echo "$PWD: $* (HF_HUB_OFFLINE=$HF_HUB_OFFLINE)" >>"$CALLS"
"""


@pytest.fixture
def project(tmp_path):
    """A clone in a folder with a space in its name, with two profiles."""
    root = tmp_path / "a clone"
    (root / "notebooks" / "params").mkdir(parents=True)
    shutil.copy(ROOT / "run_all.sh", root)
    (root / "requirements.txt").write_text("numpy==2.4.6\n")
    for profile in ("toyworld", "photographs"):
        (root / "notebooks" / "params" / f"{profile}.yaml").touch()
    return root


@pytest.fixture
def active(tmp_path):
    """The variables of a shell in which a virtual environment is active."""
    python = tmp_path / "an environment" / "bin" / "python"
    write_program(python, STAND_IN)
    return {**os.environ, "VIRTUAL_ENV": str(python.parents[1]), "CALLS": str(tmp_path / "calls")}


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def call(project: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess:
    """Call run_all.sh from another folder than its own."""
    command = [shutil.which("bash"), str(project / "run_all.sh"), *arguments]
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, timeout=10, check=False)


def calls(environment: dict[str, str]) -> list[str]:
    path = Path(environment["CALLS"])
    return path.read_text().splitlines() if path.exists() else []


def test_help_names_the_commands_and_the_profiles_and_needs_no_python(project, active):
    done = call(project, active, "--help")
    assert done.returncode == 0 and not calls(active)
    for word in ("[PROFILE]", "--check", "--reference", "--dry-run", "test", "lab", "--help", "photographs toyworld"):
        assert word in done.stdout


def test_it_installs_once_and_again_only_when_the_requirements_change(project, active):
    assert call(project, active).returncode == 0
    first = calls(active)
    assert "pip install --disable-pip-version-check --no-compile --requirement requirements.txt" in first[1]
    assert "--no-deps --editable ." in first[2] and "compileall -qq -j 0 /" in first[3]
    assert first[-1] == f"{project}: -m itemkit.running.run toyworld (HF_HUB_OFFLINE=1)"
    call(project, active)
    assert calls(active)[len(first) :] == first[-1:]
    (project / "requirements.txt").write_text("numpy==2.4.7\n")
    call(project, active)
    assert calls(active)[len(first) + 1 :] == first


def test_a_failed_installation_stops_and_is_tried_again(project, active):
    python = Path(active["VIRTUAL_ENV"]) / "bin" / "python"
    write_program(python, STAND_IN + 'case "$*" in *requirements.txt) exit 3 ;; esac\n')
    assert call(project, active).returncode == 3
    assert "itemkit.running.run" not in " ".join(calls(active))
    write_program(python, STAND_IN)
    assert call(project, active).returncode == 0
    assert calls(active)[-1].endswith("-m itemkit.running.run toyworld (HF_HUB_OFFLINE=1)")


def test_test_and_lab_pass_their_arguments_on(project, active):
    active.pop("HF_HUB_OFFLINE", None)
    call(project, active, "test", "-k", "two words")
    assert calls(active)[-1] == f"{project}: -m pytest -o cache_dir=cache/pytest -k two words (HF_HUB_OFFLINE=1)"
    call(project, active, "test")
    assert "--numprocesses=auto" in calls(active)[-1]  # all of them, on each core
    call(project, active, "lab", "--no-browser")
    opened = f"-m jupyter lab --ServerApp.root_dir={project} notebooks/00_data.ipynb --no-browser"
    assert calls(active)[-1] == f"{project}: {opened} (HF_HUB_OFFLINE=)"


@pytest.mark.parametrize("option", ["--check", "--reference", "--dry-run"])
@pytest.mark.parametrize(("profile", "run"), [([], "toyworld"), (["photographs"], "photographs")])
def test_an_option_goes_to_the_run_with_the_profile(project, active, option, profile, run):
    active.pop("HF_HUB_OFFLINE", None)
    for arguments in ([option, *profile], [*profile, option]):
        assert call(project, active, *arguments).returncode == 0
        offline = "1" if run == "toyworld" else ""
        assert calls(active)[-1] == f"{project}: -m itemkit.running.run {run} {option} (HF_HUB_OFFLINE={offline})"


def test_a_failed_check_is_the_exit_status(project, active):
    write_program(Path(active["VIRTUAL_ENV"]) / "bin" / "python", STAND_IN + 'case "$*" in *--check) exit 1 ;; esac\n')
    assert call(project, active, "--check").returncode == 1
    assert call(project, active).returncode == 0


def test_other_profiles_may_reach_a_hub(project, active):
    active.pop("HF_HUB_OFFLINE", None)
    call(project, active, "photographs")
    assert calls(active)[-1] == f"{project}: -m itemkit.running.run photographs (HF_HUB_OFFLINE=)"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["toywrld"],
            "unknown profile 'toywrld'; expected one of: photographs toyworld (or test, lab, benchmark, --help)",
        ),
        (["toyworld", "more"], "a profile takes one option and no further arguments, got 'more'; its values stand in"),
        (["--check", "toyworld", "--check"], "a profile takes one option and no further arguments, got '--check'"),
        (["--chek"], "unknown option '--chek'; expected one of: --anew, --check, --reference, --dry-run, --help"),
        (
            ["toyworld", "--chek"],
            "unknown option '--chek'; expected one of: --anew, --check, --reference, --dry-run, --help",
        ),
        (["--check", "toywrld"], "unknown profile 'toywrld'; expected one of: photographs toyworld"),
        ([""], "unknown profile ''; expected one of: photographs toyworld"),  # a variable that is not set
        (["--check", "test"], "unknown profile 'test'"),
    ],
)
def test_a_wrong_command_fails_in_one_line_before_anything_is_installed(project, active, arguments, message):
    done = call(project, active, *arguments)
    assert done.returncode == 2 and done.stderr.startswith(f"run_all.sh: {message}") and done.stderr.count("\n") == 1
    assert not calls(active)


def test_no_recent_python_names_the_remedy(project, tmp_path):
    programs = tmp_path / "programs"
    for name in ("basename", "cat", "cksum", "dirname", "tr"):
        programs.mkdir(exist_ok=True)
        (programs / name).symlink_to(shutil.which(name))
    write_program(
        programs / "python3", "#!/bin/sh\nexit 1\n"
    )  # as an older Python answers the question for its version
    write_program(programs / "python3.12", "#!/bin/sh\necho 'no such version' >&2; exit 127\n")
    done = call(project, {"PATH": str(programs)})
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "found no Python 3.11 or newer with venv. Install one (apt install python3.11-venv" in done.stderr
    assert not (project / ".venv").exists()


def test_an_active_environment_that_is_too_old_is_refused(project, active):
    write_program(Path(active["VIRTUAL_ENV"]) / "bin" / "python", "#!/bin/sh\nexit 1\n")
    done = call(project, active)
    assert done.returncode == 2 and "has no Python 3.11 or newer; deactivate it" in done.stderr


def test_without_an_active_environment_one_is_made_beside_the_code(project, tmp_path, active):
    programs = tmp_path / "programs"
    make = (
        f'#!/bin/sh\nif [ "$1" = -c ]; then exec {PYTHON} "$@"; fi\n'
        f'mkdir -p "$5/bin" && cp "{active["VIRTUAL_ENV"]}/bin/python" "$5/bin/python"\n'
    )
    write_program(programs / "python3.11", make)
    environment = {"PATH": f"{programs}:/usr/bin:/bin", "CALLS": active["CALLS"]}
    assert call(project, environment).returncode == 0
    assert (project / ".venv" / ".itemkit-installed").exists()
    assert "-m itemkit.running.run toyworld" in calls(environment)[-1]
