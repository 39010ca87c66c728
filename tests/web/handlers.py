"""Handlers of the worker that the browser tests look at."""

import trio

from workqueue import Job, handler


@handler("import_pages")
async def import_pages(job: Job) -> object:
    """Tells how far it is, for as many seconds as the payload says."""
    for page in range(1, 5):
        job.log(f"page {page} of 4 <b>read</b>")
        job.progress(page / 4, f"page {page} of 4")
        await trio.sleep(0.1)
    if job.payload.get("fails"):
        raise ValueError("page 5 is missing")
    await trio.sleep(float(str(job.payload.get("seconds", 0))))
    return {"pages": 4}
