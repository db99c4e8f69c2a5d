"""File names in run folders and model folders.

runs/a/
    settings.yaml        resolved settings of the training
    commands.txt         the commands that trained it
    log.csv              loss and metrics by step
    chosen.csv           the snippets that principal backpropagation chose
    split.csv            the split of every video: training, validation or test
    skipped.csv          videos that could not be read
    damaged.csv          videos that were read in spite of missing frames
    features/            the features of the videos, for a model that was fitted to them
    held_out.npz         scores of the held-out videos that the checkpoint is calibrated on
    run.json             the last and the best checkpoint
    checkpoints/STEP/    model folders
    segments.json        thresholds and lengths that make segments of scores over time
    tests/               reports of tests
    report.html          report of the training

checkpoints/STEP/        a model folder
    model.json           the model card: labels, input, metrics
    model.safetensors    the weights
    optimizer.safetensors, state.json    the training state, to resume from
    exported/            the network for other runtimes, see `praxiscope.inference.kept_network`
"""

from __future__ import annotations

from pathlib import PurePath

__all__ = [
    "CARD_FILE",
    "CHECKPOINTS",
    "CHOICES_FILE",
    "COMMANDS_FILE",
    "DAMAGED_FILE",
    "EXPORTED",
    "EXPORTED_FILE",
    "FEATURES",
    "FUSION_FILE",
    "HELD_OUT_FILE",
    "LOG_FILE",
    "MODEL_FILE",
    "OPTIMIZER_FILE",
    "POINTER_FILE",
    "REPORT_FILE",
    "SCORES_FILE",
    "SEGMENTS_FILE",
    "SETTINGS_FILE",
    "SKIPPED_FILE",
    "SPLIT_FILE",
    "STATE_FILE",
    "SVM_FILE",
    "TENSORBOARD",
    "TESTS",
    "TRAJECTORIES",
    "TRAJECTORIES_FILE",
    "of_process",
]

SETTINGS_FILE = "settings.yaml"
COMMANDS_FILE = "commands.txt"
LOG_FILE = "log.csv"
CHOICES_FILE = "chosen.csv"
SPLIT_FILE = "split.csv"
SKIPPED_FILE = "skipped.csv"
DAMAGED_FILE = "damaged.csv"
POINTER_FILE = "run.json"
REPORT_FILE = "report.html"
SCORES_FILE = "scores.npz"
HELD_OUT_FILE = "held_out.npz"
SEGMENTS_FILE = "segments.json"
CHECKPOINTS = "checkpoints"
EXPORTED = "exported"
FEATURES = "features"
TRAJECTORIES = "trajectories"
TRAJECTORIES_FILE = "trajectories.json"  # of a folder of stored trajectories
TESTS = "tests"
TENSORBOARD = "tensorboard"

CARD_FILE = "model.json"
MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"

EXPORTED_FILE = "deploy.json"  # of a folder that praxiscope export has written
FUSION_FILE = "fusion.json"  # of a fused recogniser: its parts are model folders beside this file
SVM_FILE = "svm.safetensors"


def of_process(name: str, rank: int | str) -> str:
    """Return the name of a file that one process of a training run writes; process 0 writes ``name``.

    Example:
        >>> of_process("skipped.csv", 0), of_process("skipped.csv", 2)
        ('skipped.csv', 'skipped.2.csv')
    """
    path = PurePath(name)
    return name if rank == 0 else f"{path.stem}.{rank}{path.suffix}"
