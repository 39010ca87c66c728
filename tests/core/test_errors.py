"""core/errors.py holds every error that core raises on purpose."""

import importlib
import inspect
import pkgutil

import workqueue.core
from workqueue.core import errors
from workqueue.core.queue.master import MasterUnknown


def test_no_other_module_of_core_defines_an_error():
    modules = [module.name for module in pkgutil.walk_packages(workqueue.core.__path__, "workqueue.core.")]
    assert "workqueue.core.queue.outages" in modules
    found = {
        kind
        for name in modules
        for _, kind in inspect.getmembers(importlib.import_module(name), inspect.isclass)
        if issubclass(kind, BaseException) and kind.__module__ == name
    }
    known = {kind for kind in found if kind.__module__ == errors.__name__}
    assert found - known == {MasterUnknown}, "which never leaves its package"
    assert all(issubclass(kind, errors.WorkQueueError) for kind in known)
