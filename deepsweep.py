"""The command line: which commands there are, and where each of them lives.

`deepsweep --help` imports click and nothing else; a command's own libraries are loaded when it
runs.
"""

from __future__ import annotations

import click

from cli.lazy import LazyCommand, LazyGroup

COMMANDS = {
    "scan": LazyCommand(
        module="cli.scan",
        attribute="scan",
        help="Judge every image and video under files, folders and s3:// prefixes.",
    ),
    "show": LazyCommand(
        module="cli.show", attribute="show", help="Show one item: its frames, faces and tracks."
    ),
    "scans": LazyCommand(module="cli.show", attribute="scans", help="List the scans so far."),
    "demo": LazyCommand(
        module="cli.demo", attribute="demo", help="Prepare a folder of real and faked material."
    ),
    "models": LazyCommand(
        module="cli.registry",
        attribute="models",
        help="List, register, promote, roll back and export the models that can judge.",
    ),
    "architectures": LazyCommand(
        module="cli.manage",
        attribute="architectures",
        help="List the network architectures a model can have.",
    ),
    "train": LazyCommand(
        module="cli.train", attribute="train", help="Train a model from a recipe."
    ),
    "combine": LazyCommand(
        module="cli.train", attribute="combine", help="Make one model of several trained ones."
    ),
    "search": LazyCommand(
        module="cli.experiments",
        attribute="search",
        help="Draw a recipe's learning rate, dropout and the like at random, and rank them.",
    ),
    "study": LazyCommand(
        module="cli.experiments",
        attribute="study",
        help="Study what one change at a time does to a training.",
    ),
    "retrain": LazyCommand(
        module="cli.retrain",
        attribute="retrain",
        help="Make a better model of what people have judged.",
    ),
    "evaluate": LazyCommand(
        module="cli.evaluate", attribute="evaluate", help="Measure a model on labelled media."
    ),
    "grade": LazyCommand(
        module="cli.grade", attribute="grade", help="Hold a scan's results against labels."
    ),
    "rescore": LazyCommand(
        module="cli.rescore",
        attribute="rescore",
        help="Score kept faces again with another model version; list what flipped.",
    ),
    "items": LazyCommand(
        module="cli.items", attribute="items", help="Erase what is known of single items."
    ),
    "estimate": LazyCommand(
        module="cli.estimate",
        attribute="estimate",
        help="Estimate how often verdicts were wrong, from what people judged.",
    ),
    "data": LazyCommand(
        module="cli.data",
        attribute="data",
        help="Import labelled media, and freeze them as snapshots to train on.",
    ),
    "explain": LazyCommand(
        module="cli.explain",
        attribute="explain",
        help="Show what the model looked at in the faces of one medium.",
    ),
    "keys": LazyCommand(
        module="cli.keys", attribute="keys", help="Make, list and revoke keys of the HTTP API."
    ),
    "up": LazyCommand(
        module="cli.service", attribute="up", help="Run the whole service on this machine."
    ),
    "worker": LazyCommand(
        module="cli.service", attribute="worker", help="Scan what is queued (part of the service)."
    ),
    "api": LazyCommand(
        module="cli.service", attribute="api", help="Serve the HTTP API (part of the service)."
    ),
    "beat": LazyCommand(
        module="cli.service",
        attribute="beat",
        help="Ask for what is left lying (part of the service).",
    ),
    "db": LazyCommand(
        module="cli.manage", attribute="db", help="Create or upgrade the database tables."
    ),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 done, 1 something failed, 2 wrong usage, 130 interrupted. "
    "DEEPSWEEP_DEBUG=1 shows tracebacks.",
)
@click.version_option(package_name="deepsweep", message="deepsweep %(version)s")
def cli() -> None:
    """Find deepfakes in bulk: which faces are real, which are fake, and how sure that is.

    \b
    Examples:
      deepsweep scan photos/ clip.mp4 --html report.html
      deepsweep scan s3://bucket/prefix/ --json results.jsonl
      deepsweep show photos/portrait.jpg
    """


def main() -> None:
    """Entry point of the `deepsweep` command."""
    cli(prog_name="deepsweep")


if __name__ == "__main__":
    main()
