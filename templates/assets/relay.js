// Sends the form of a provider again, from this site, so that the browser sends its cookies with it.
"use strict";

document.querySelector("form[data-relay]").submit();
