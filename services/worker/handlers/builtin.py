"""What a worker can run without a module of its user's."""

from workqueue.core.bridge import Bridge
from workqueue.core.handlers import Registry
from workqueue.core.settings import Settings
from workqueue.services.worker.handlers.children import Children
from workqueue.services.worker.handlers.send_email import SendEmail

TIMEOUT_SECONDS = 60.0  #: of each run; README has it


def builtin_handlers(settings: Settings, bridge: Bridge, children: Children, registry: Registry) -> None:
    """Register what is built in; a type that a user's module has registered stays the user's.

    A document and a picture are made in a process: what a payload makes a library do cannot be stopped in a thread.
    """
    registry.add_builtin("send_email", SendEmail(settings, bridge).__call__, TIMEOUT_SECONDS)
    registry.add_builtin("resize_image", children.run, TIMEOUT_SECONDS)
    registry.add_builtin("generate_pdf", children.run, TIMEOUT_SECONDS)
