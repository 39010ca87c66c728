"""The built-in handlers: they do the real thing, with the resources of their worker."""

from core.bridge import Bridge
from core.handlers import HandlerFunction, Registry
from core.job import Job
from core.settings import Settings
from services.worker.handlers.resize_image import ResizeImage
from services.worker.handlers.send_email import SendEmail


def builtin_handlers(settings: Settings, bridge: Bridge, registry: Registry) -> None:
    """Register what is built in; a type that a user's module has registered stays the user's."""
    built_in: dict[str, HandlerFunction] = {
        "send_email": SendEmail(settings, bridge).__call__,
        "resize_image": ResizeImage(settings.image_folder).__call__,
        "generate_pdf": _generate_pdf,
    }
    for job_type, function in built_in.items():
        if registry.get(job_type) is None:
            registry.handler(job_type)(function)


def _generate_pdf(job: Job) -> object:
    """With the first job its libraries come: 18 MB and a fifth of the start that most workers never need."""
    from services.worker.handlers.generate_pdf import GeneratePdf

    return GeneratePdf()(job)
