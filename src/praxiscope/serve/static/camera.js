// Record a clip with the camera. Browsers allow this for this machine's own server, and over HTTPS.

const get = (id) => document.getElementById(id);

export function useCamera(fail, add) {
  const dialog = get("recorder"), preview = get("preview"), record = get("record");
  let stream = null, recorder = null;

  get("camera").addEventListener("click", async () => {
    if (!navigator.mediaDevices || !window.MediaRecorder) {
      fail("The browser allows the camera only for a server on this machine, or over HTTPS.");
      return;
    }
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: true });
    } catch (error) {
      fail(`The camera cannot be used: ${error.message}`);
      return;
    }
    preview.srcObject = stream;
    preview.play();
    dialog.showModal();
  });

  record.addEventListener("click", () => {
    if (recorder) {
      recorder.stop();
      return;
    }
    const parts = [];
    recorder = new MediaRecorder(stream);
    recorder.ondataavailable = (event) => parts.push(event.data);
    recorder.onstop = () => {
      const video = new Blob(parts, { type: recorder.mimeType });
      const suffix = recorder.mimeType.includes("mp4") ? "mp4" : "webm";
      recorder = null;
      record.textContent = "Record";
      const time = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
      if (dialog.open) dialog.close();
      add(video, `camera ${time}.${suffix}`);
    };
    recorder.start();
    record.textContent = "Stop and analyse";
  });

  get("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    if (recorder) {
      recorder.onstop = null;
      recorder.stop();
      recorder = null;
      record.textContent = "Record";
    }
    if (stream) stream.getTracks().forEach((track) => track.stop());
    stream = null;
  });
}
