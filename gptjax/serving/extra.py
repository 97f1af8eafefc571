"""What the server needs and a plain installation has not: imported before all that uses it."""

from gptjax.errors import UserError

try:
    import fastapi as fastapi
    import uvicorn as uvicorn
except ImportError as error:
    raise UserError(
        f"the server cannot be imported ({error}); pip install 'gptjax[serve]'"
    ) from error
