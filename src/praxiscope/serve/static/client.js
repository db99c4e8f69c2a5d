// Requests to the server. Every failure becomes an Error whose message can be shown.

export async function ask(path, { method = "GET", json } = {}) {
  const options = { method, headers: {} };
  if (json !== undefined) {
    options.body = JSON.stringify(json);
    options.headers["Content-Type"] = "application/json";
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  const kind = response.headers.get("Content-Type") || "";
  const content = kind.includes("json") && response.status !== 204 ? await response.json() : null;
  if (!response.ok) throw new Error(reason(content, response.status));
  return content;
}

function reason(content, status) {
  const detail = content && content.detail;
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail)) return detail.map((one) => `${one.loc.at(-1)}: ${one.msg}`).join("; ");
  return `The server answered with status ${status}.`;
}

// Upload with progress, which fetch does not report.
export function upload(file, name, keep, progress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", `api/videos?name=${encodeURIComponent(name)}&keep=${keep}`);
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () =>
      request.status < 300 ? resolve(request.response) : reject(new Error(reason(request.response, request.status)));
    request.onerror = () => reject(new Error("The upload was broken off. The file may be too large, or the server has ended."));
    request.send(file);
  });
}

export const show = (element, visible) => { element.hidden = !visible; };

export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in made) made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export function clock(seconds) {
  const whole = Math.floor(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const text = parts.map((part) => String(part).padStart(2, "0"));
  return (parts[0] ? text : text.slice(1)).join(":");
}
