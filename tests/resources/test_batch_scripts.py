"""Scripts of batch jobs, for every batch system."""

from dataclasses import replace
from pathlib import Path

import pytest
from distributed.security import Security

from ase_bayesel.resources import BatchJobs
from ase_bayesel.resources.batch import new_job

FULL = BatchJobs(
    cores=8,
    memory_GB=16,
    processes=2,
    walltime_h=30.5,
    queue="night",
    account="mlip",
    directives=("--an=option",),
    prologue=("module load qe",),
    python="/opt/my python/bin/python",
    local_directory=Path("/scratch/me"),
)


def script(**changes):
    key = Security(
        require_encryption=True,
        tls_ca_file="/my home/c.pem",
        tls_worker_cert="/my home/c.pem",
        tls_worker_key="/my home/k.pem",
    )
    job = new_job(replace(FULL, **changes), "tls://host:1234", key, "bayesel-x", "bayesel-x-0")
    return job.job_script()


@pytest.mark.parametrize(
    ("system", "lines"),
    [
        (
            "slurm",
            [
                *("#SBATCH -J bayesel-x", "#SBATCH -p night", "#SBATCH -A mlip"),
                *("#SBATCH -t 30:30:00", "#SBATCH --cpus-per-task=8", "#SBATCH --mem=16G"),
                "#SBATCH --an=option",
            ],
        ),
        ("pbs", ["#PBS -q night", "#PBS -A mlip", "#PBS -l walltime=30:30:00", "#PBS --an=option"]),
        ("moab", ["#PBS -q night", "#PBS -A mlip", "#PBS -l walltime=30:30:00"]),
        ("lsf", ["#BSUB -q night", '#BSUB -P "mlip"', "#BSUB -W 30:30", "#BSUB --an=option"]),
        ("sge", ["#$ -q night", "#$ -P mlip", "#$ -l h_rt=30:30:00", "#$ --an=option"]),
        ("oar", ["#OAR -q night", "#OAR --project mlip", "#OAR --an=option"]),
    ],
)
def test_scripts(system, lines):
    written = script(kind=system)
    assert [line for line in lines if line not in written.splitlines()] == []
    (command,) = [line for line in written.splitlines() if "dask_worker" in line]
    assert command.startswith("'/opt/my python/bin/python' -m distributed.cli.dask_worker")
    assert "--nworkers 2 --nanny --death-timeout 60 --local-directory /scratch/me" in command
    tls = "--tls-ca-file '/my home/c.pem' --tls-cert '/my home/c.pem' --tls-key '/my home/k.pem'"
    assert command.endswith(f"--lifetime 109350s --lifetime-stagger 150s {tls}")
    assert "\nmodule load qe\n" in written


def test_the_script_of_htcondor():
    written = script(kind="htcondor", directives=("+Group = lab", "RequestGPUs=1"))
    assert "\n+Group = lab\n" in written
    assert "\nRequestGPUs = 1\n" in written
    assert "module load qe; '/opt/my python" in written.replace("''", "'")


def test_lines_that_are_left_out():
    assert "#SBATCH --mem" in script()
    assert "#SBATCH --mem" not in script(directives_skip=("--mem",))
