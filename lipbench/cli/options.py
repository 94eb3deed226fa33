"""Options that several subcommands share."""

from pathlib import Path

import click

device = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda|cuda:N", help="Where to compute."
)
data = click.option(
    "--data",
    metavar="SPEC",
    help="Data set: a name of `lipbench list datasets`, npz:PATH or folder:PATH.  [default: the one on the cards]",
)
training_data = click.option(
    "--data",
    metavar="SPEC",
    help="Data set to train on, as for `lipbench evaluate`.  [default: the recipe's]",
)
data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder with the files of mnist, cifar10, cifar100.  [default: $LIPBENCH_DATA, else ./data]",
)
num_classes = click.option(
    "--num-classes",
    type=int,
    metavar="K",
    help="Number of classes, where the labels of the data set may lack some.  [default: the data set's]",
)
trust = click.option(
    "--trust",
    multiple=True,
    metavar="PACKAGE",
    help="Package that may be imported for models stored as a factory; may be given several times.",
)
samples = click.option(
    "--samples",
    type=int,
    metavar="N",
    help="Only the first N test samples.  [default: the suite's number, else all]",
)
seed = click.option("--seed", type=int, default=0, show_default=True, help="Seed of the attacks.")
dtype = click.option(
    "--dtype",
    type=click.Choice(["float64", "float32"]),
    default="float64",
    show_default=True,
    help="Type that the networks compute in; certificates of grade float hold for this type.",
)
progress = click.option("--progress/--quiet", " /-q", default=True, help="Show progress bars, or none.")
threads = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="CPU threads of each process; small networks are fastest with 1.",
)
executor = click.option(
    "--executor",
    default="local",
    show_default=True,
    metavar="local|ray|NAME",
    help="Where tasks run: in processes on this machine, on a Ray cluster, or a name of `lipbench list executors`.",
)
jobs = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Number of processes (local), or of tasks at the same time (ray).",
)
address = click.option("--address", help="Address of a Ray cluster.  [default: start one on this machine]")
gpus = click.option(
    "--gpus-per-task",
    type=float,
    metavar="G",
    help="GPUs per task on a Ray cluster, such as 0.25.",
)
