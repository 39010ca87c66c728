"""The built-in handlers: they do the real thing, with the resources of their worker."""

from core.bridge import Bridge
from core.handlers import HandlerFunction, Registry
from core.settings import Settings
from services.worker.handlers.generate_pdf import GeneratePdf
from services.worker.handlers.resize_image import ResizeImage
from services.worker.handlers.send_email import SendEmail


def builtin_handlers(settings: Settings, bridge: Bridge, registry: Registry) -> None:
    """Register what is built in; a type that a user's module has registered stays the user's."""
    built_in: dict[str, HandlerFunction] = {
        "send_email": SendEmail(settings, bridge).__call__,
        "resize_image": ResizeImage(settings.image_folder).__call__,
        "generate_pdf": GeneratePdf().__call__,
    }
    for job_type, function in built_in.items():
        if registry.get(job_type) is None:
            registry.handler(job_type)(function)
