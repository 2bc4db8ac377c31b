"""A node's settings, bundle and series, small enough for tests that run all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from dicom_node.results.kinds import LABEL_MAP_SEGMENTATION_STORAGE, ResultKind
from dicom_node.settings.loading import parse_config
from dicom_node.settings.node import NodeConfig
from dicom_node.spool.arrivals import SeriesArrival
from inference.models.bayesian_unet.network import Architecture, BayesianUNet
from inference.models.bayesian_unet.preprocessing import PixelGrid, Window
from inference.models.bayesian_unet.writing import write_unet_bundle
from support.cases import source_datasets
from support.ct import SERIES_UID, STUDY_UID, save
from support.pacs import Pacs

RESULT_CLASSES = {one.traits.sop_class_uid for one in ResultKind}


ASKED_WITH = (
    Verification,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
)


def result_pacs(*, label_maps: bool = True, **options: Any) -> Pacs:
    """A peer that takes the objects the node makes, label maps or not."""
    taken = RESULT_CLASSES - (set() if label_maps else {LABEL_MAP_SEGMENTATION_STORAGE})
    contexts = [(uid, [ExplicitVRLittleEndian, RLELossless]) for uid in sorted(taken)]
    contexts += [(uid, [ImplicitVRLittleEndian]) for uid in ASKED_WITH]
    return Pacs(contexts=contexts, **options)


def write_small_bundle(folder: Path) -> Path:
    """A bundle whose network has two levels of two filters and knows nothing."""
    torch.manual_seed(0)
    architecture = Architecture(
        layers=2, filters=2, batch_normalisation=True, dropout_free_levels=1
    )
    write_unet_bundle(
        folder,
        name="small",
        version="1.0",
        network=BayesianUNet(architecture),
        window=Window(-160, 240, 0, 1),
        grid=PixelGrid(None),
        samples=2,
        training={"recipe": "none"},
        model_card="# small\n",
    )
    return folder


def small_config(folder: Path, pacs_port: int | None, **sections: Any) -> NodeConfig:
    """Settings of a node in `folder` that delivers to one peer, and waits for nothing long."""
    bundle = folder / "bundle"
    if not bundle.exists():
        write_small_bundle(bundle)
    table: dict[str, Any] = {
        "node": {"spool": "spool", "work": "work", "results": "results", "database": "db"},
        "receive": {"free_reserve_mb": 0},
        "completion": {"quiet_s": 1.5, "give_up_s": 3.0},
        "analysis": {"bundle": str(bundle), "device": "cpu"},
        "delivery": {"first_wait_s": 0.2, "max_wait_s": 1.0, "timeout_s": 5.0},
        "logging": {"format": "json", "level": "debug"},
    }
    if pacs_port is not None:
        peer = {"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": pacs_port}
        table["destinations"] = [peer]
    for name, section in sections.items():
        if isinstance(section, dict):
            table[name] = {**table.get(name, {}), **section}
        else:
            table[name] = section
    return parse_config(table, source="test", folder=folder)


def small_arrival(folder: Path, *, revision: int = 1, **options: Any) -> SeriesArrival:
    """A series of twelve slices, as the inbox hands it over."""
    datasets = source_datasets(**options)
    paths = tuple(sorted(save(datasets, folder)))
    return SeriesArrival(
        series_instance_uid=SERIES_UID,
        study_instance_uid=STUDY_UID,
        revision=revision,
        paths=paths,
        sop_instance_uids=tuple(str(each.SOPInstanceUID) for each in datasets),
        calling_ae_title="CT1",
        called_ae_title="MSKNODE",
        reason="quiet, and the slices leave no gap",
    )
