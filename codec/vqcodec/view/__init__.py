"""Pictures in a browser: the files that a page needs, and a local server with a gallery."""

from vqcodec.view.server import Gallery, serve
from vqcodec.view.web import decoder_weights, module_files, write_web

__all__ = ["Gallery", "decoder_weights", "module_files", "serve", "write_web"]
