// A page from the OpenAPI description of the server.

import { ask, element } from "./client.js";

document.getElementById("address").textContent = new URL("./", location.href).href;
try {
  const { paths } = await ask("api/openapi.json");
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, about] of Object.entries(methods)) {
      const parameters = (about.parameters || []).map((one) =>
        element("li", {}, element("code", {}, one.name), ` (${one.in}) ${one.description || ""}`));
      const answers = Object.keys(about.responses).join(", ");
      document.getElementById("paths").append(element("section", {},
        element("h2", {}, `${method.toUpperCase()} ${path}`),
        element("p", {}, about.description || about.summary || ""),
        element("ul", { className: "small" }, ...parameters),
        element("p", { className: "small" }, `Status: ${answers}`)));
    }
  }
} catch (error) {
  document.getElementById("message").textContent = error.message;
}
