"""Records that a run keeps open are Dagster's own: others read them meanwhile, and nothing is lost with the process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef
from dagster._serdes import ConfigurableClassData

from orchestration.instance import open_instance, prepare_home
from orchestration.records import OpenStorage, keep_open
from orchestration.settings import Settings


@dg.asset
def told() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"rows": 3})


def rows_of(instance: dg.DagsterInstance) -> object:
    event = instance.get_latest_materialization_event(dg.AssetKey("told"))
    assert event is not None
    assert event.asset_materialization is not None
    return event.asset_materialization.metadata["rows"].value


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path, dagster_home=tmp_path / "home")


def test_others_read_what_an_open_run_has_written(settings: Settings) -> None:
    with open_instance(settings) as instance:
        run = dg.materialize([told], instance=instance)
        with dg.DagsterInstance.from_config(str(settings.dagster_home)) as other:
            assert rows_of(other) == 3
            assert len(other.all_logs(run.run_id)) == len(instance.all_logs(run.run_id)) > 5
            # And write: an asset of another run, while this one is open.
            dg.materialize([told], instance=other)
        assert len(instance.get_runs()) == 2
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as later:
        assert [record.status for record in later.get_runs()] == [dg.DagsterRunStatus.SUCCESS] * 2


def test_a_process_that_is_killed_loses_no_record(settings: Settings) -> None:
    script = (
        "import os, signal, sys; import dagster as dg\n"
        "from pathlib import Path\n"
        "from orchestration.instance import open_instance\n"
        "from orchestration.settings import Settings\n"
        "@dg.asset\n"
        "def told(): return dg.MaterializeResult(metadata={'rows': 3})\n"
        "data = Path(sys.argv[1])\n"
        "with open_instance(Settings(data=data, dagster_home=data / 'home')) as instance:\n"
        "    dg.materialize([told], instance=instance)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"STRATA_DATA": str(settings.data)}
    killed = subprocess.run([sys.executable, "-c", script, settings.data], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    with dg.DagsterInstance.from_config(str(settings.dagster_home)) as later:
        assert rows_of(later) == 3
        (run,) = later.get_runs()
        assert run.status == dg.DagsterRunStatus.SUCCESS


def test_files_are_closed_with_the_records(settings: Settings) -> None:
    with open_instance(settings) as instance:
        dg.materialize([told], instance=instance)
    held = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    assert not [path for path in held if path.startswith(str(settings.dagster_home))]


def test_records_elsewhere_stay_as_they_are(settings: Settings) -> None:
    usual = InstanceRef.from_dir(str(prepare_home(settings)))
    assert keep_open(usual).storage_data.class_name == OpenStorage.__name__
    elsewhere = ConfigurableClassData("dagster_postgres", "DagsterPostgresStorage", "{}")
    assert keep_open(usual._replace(storage_data=elsewhere)).storage_data == elsewhere
