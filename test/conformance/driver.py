"""Tells what the command line of the real ParallelCluster is, and what it says.

Standard input: a JSON list of argument lists; standard output: JSON
{"commands": {NAME: [option, ...]}, "answers": [{"status", "stdout", "stderr"}, ...]}.
The lists run in this one process, one after the other, for the program takes a
second to start.
"""

import argparse
import contextlib
import io
import json
import logging
import os
import sys

import pcluster.cli.model
from pcluster.cli import entrypoint

logging.disable(logging.CRITICAL)
entrypoint.pcluster_logging.config_logger = lambda: None


def options(parser):
    return [
        {
            "flags": sorted(a.option_strings),
            "required": bool(a.required),
            "switch": a.nargs == 0,
            "many": a.nargs == "+",
            "choices": list(a.choices or []),
            "hidden": a.help == argparse.SUPPRESS,
        }
        for a in parser._actions
        if a.option_strings
    ]


def answer(arguments):
    out, err = io.StringIO(), io.StringIO()
    environment = dict(os.environ)
    sys.argv = ["pcluster", *arguments]
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            entrypoint.main()
        except SystemExit as e:
            status = e.code if isinstance(e.code, int) else int(e.code is not None)
            if isinstance(e.code, str):  # which the interpreter would print
                err.write(e.code + "\n")
    os.environ.clear()
    os.environ.update(environment)
    return {"status": status, "stdout": out.getvalue(), "stderr": err.getvalue()}


model = pcluster.cli.model.load_model(pcluster.cli.model.package_spec())
pcluster.cli.model.package_spec = lambda: None  # which takes most of a run
pcluster.cli.model.load_model = lambda spec: model
_, parsers = entrypoint.gen_parser(model)
entrypoint.add_cli_commands(parsers)
json.dump(
    {
        "commands": {name: options(p) for name, p in parsers["subparser"].choices.items()},
        "answers": [answer(a) for a in json.load(sys.stdin)],
    },
    sys.stdout,
)
