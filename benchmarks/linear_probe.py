"""Linear probe: logistic regression on a network's mean features over frames, without fine-tuning.

A floor for every recogniser that is trained from the same weights, read and normalised by the same code. The strength
of the regularisation is chosen by cross-validation over the training videos' groups, not on the test videos.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from common import Table, parser, run_command, write_tables
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

import praxiscope as px
from praxiscope.data.manifest import load_records
from praxiscope.models.weights import load_weights
from praxiscope.video.sampling import segment_indices
from praxiscope.video.transforms import BatchAugment, CenterCrop


def main() -> None:
    """Extract the features, fit and test the regression, and write the table."""
    arguments = parser(__doc__, __file__, assignments=False)
    arguments.add_argument("data", help="a data set with splits and groups, as for `praxiscope train`")
    arguments.add_argument("--split")
    arguments.add_argument("--weights", type=Path, required=True, help="weights of SqueezeNet 1.0")
    arguments.add_argument("--frames", type=int, nargs="+", default=[8, 25])
    options = arguments.parse_args()
    manifest = load_records(options.data, split=options.split)
    network = px.create_model("tsn", backbone="squeezenet1_0", num_classes=len(manifest.classes)).eval()
    load_weights(network, options.weights)
    rgb = network.normalisation["rgb"]
    augment = BatchAugment(flip=False, mean=rgb["mean"], std=rgb["std"])
    labels = np.array([manifest.numbers(record)[0] for record in manifest.records])
    train = np.array([record.split == "train" for record in manifest.records])
    groups = [record.group for record in manifest.records if record.split == "train"]
    rows = []
    for count in options.frames:
        features = []
        for record in manifest.records:
            video = px.open_video(record.path)
            frames = video.frames(segment_indices(video.quick_length(), count), short_side=256)
            with torch.inference_mode():
                pixels = augment.stream(CenterCrop(224)({"rgb": frames})["rgb"][None], ())[0]
                features.append(network.backbone.features(pixels).mean((0, 2, 3)).numpy())
        x = np.stack(features)
        for name, scaler in (("standardised", StandardScaler()), ("unit length", Normalizer())):
            pipeline = make_pipeline(scaler, LogisticRegression(max_iter=5000))
            grid = {"logisticregression__C": [10.0**k for k in range(-4, 5)]}
            search = GridSearchCV(pipeline, grid, cv=GroupKFold(5)).fit(
                x[train], labels[train], groups=groups
            )
            accuracy = search.score(x[~train], labels[~train])
            chosen = search.best_params_["logisticregression__C"]
            rows.append([count, name, f"{chosen:g}", f"{search.best_score_:.3f}", f"{accuracy:.3f}"])
    header = ["frames", "features", "C", "top-1, cross-validated on the training videos", "top-1, test"]
    write_tables(
        options,
        __file__,
        "Linear probe of SqueezeNet 1.0",
        [Table("", header, rows)],
        f"{int(train.sum())} training and {int((~train).sum())} test clips of {len(manifest.classes)} classes, "
        f"centre crops, weights of {options.weights.name}.",
    )


if __name__ == "__main__":
    run_command(main)
