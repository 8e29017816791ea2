"""moto's server, made stricter where it differs from AWS in what Landfall's clients see. Arguments are moto's own."""

import sys
import uuid

from moto.core import exceptions
from moto.iam import access_control
from moto.server import main


def sign_what_was_sent(original):
    """A request without a body is signed over nothing; moto takes its query or headers for a body, and refuses it."""

    def create(self):
        request = original(self)
        if self._method != "POST":
            request.data = self._body
        return request

    return create


def answer_as_aws(original):
    """AWS has one <Error> straight in its <ErrorResponse>, and a <RequestId> after it."""

    def init(self, *args, **kwargs):
        original(self, *args, **kwargs)
        ending = f"<RequestId>{uuid.uuid4()}</RequestId></ErrorResponse>"
        for old, new in ("<Errors>", ""), ("</Errors>", ""), ("</ErrorResponse>", ending):
            self.description = self.description.replace(old, new)

    return init


base = access_control.IAMRequestBase
base._create_aws_request = sign_what_was_sent(base._create_aws_request)
exceptions._RESTError.__init__ = answer_as_aws(exceptions._RESTError.__init__)
main(sys.argv[1:])
