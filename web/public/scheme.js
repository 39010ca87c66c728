// Before the first paint, so that a dark page never flashes white.
const scheme = localStorage.getItem("scheme");
if (scheme === "light" || scheme === "dark") document.documentElement.dataset.scheme = scheme;
