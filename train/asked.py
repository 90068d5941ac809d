"""Which runs the command line asks for; `fit` trains them, `evaluate` judges them."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

from train import protocols
from train.run import Run, RunError

if TYPE_CHECKING:
    import argparse

    from train.recipe import Recipe


RANDOM: dict[str, Any] = {
    "nargs": "+",
    "metavar": "SHARES",
    "help": "split at random: training/validation/test in per cent",
}
"""Of the option `--random`, which stands instead of a fold."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What else there is to say of the splits that `train.protocols` has."""
    parser.add_argument("--draw", type=int, nargs="+", default=[0], help="which random splits of these (default: 0)")
    parser.add_argument("--statement", nargs="+", help="with --fold: train on this sentence, test on the other")
    parser.add_argument("--merged", action="store_true", help="learn sad, angry, fearful and disgust as one emotion")


def runs(chosen: Recipe, args: argparse.Namespace) -> list[Run]:
    """The runs that the options name. Raises RunError for a corpus that the recipe doesn't train on."""
    if args.random and (args.fold or args.leave_out):
        raise RunError("--random splits as a whole: leave --fold and --leave-out away.")
    if not args.fold and (args.validate or args.statement):
        raise RunError("--validate and --statement are of a fold: name one with --fold, or leave them away.")
    if args.draw != [0] and not args.random:
        raise RunError("--draw says which of the random splits: name their shares with --random, as in 60/20/20.")
    if args.statement and args.leave_out:
        raise RunError("--statement and --leave-out are splits of two kinds: ask for one at a time.")
    if args.validate and args.statement:
        raise RunError("--statement has no validation speakers: leave --validate or --statement away.")
    return [dataclasses.replace(one, merged=args.merged) for one in _asked(chosen, args)]


def _asked(chosen: Recipe, args: argparse.Namespace) -> list[Run]:
    if args.random:
        both = itertools.product(args.random, args.draw)
        return [Run(chosen, None, splitting=protocols.RandomSplit.parse(shares, draw)) for shares, draw in both]
    if args.statement:
        held_out = itertools.starmap(protocols.StatementHeldOut, itertools.product(args.fold, args.statement))
        return [Run(chosen, None, splitting=one) for one in held_out]
    if unknown := set(args.leave_out or ()) - set(chosen.corpora):
        raise RunError(
            f"{', '.join(sorted(unknown))} can't be left out: {chosen.name} has {', '.join(chosen.corpora)}."
        )
    if args.leave_out and len(chosen.corpora) == 1:
        raise RunError(f"The recipe {chosen.name} trains on {chosen.corpora[0]} alone: nothing is left without it.")
    by_speaker = [Run(chosen, fold, args.validate) for fold in ([None] if args.all else args.fold or [])]
    return by_speaker + [Run(chosen, None, left_out=corpus) for corpus in args.leave_out or ()]
