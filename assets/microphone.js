// Gradio says nothing where the browser refuses the microphone. This does, beside the recorder that asked for it.
(() => {
  const REASONS = {
    NotAllowedError: "The browser doesn't let this page use the microphone. Allow it (mostly beside the page's address), and press Record again",
    NotFoundError: "No microphone was found. Connect one, and press Record again",
    NotReadableError: "The microphone can't be used; another program may hold it. Close that, and press Record again",
    insecure: "Browsers give a microphone only to pages with https:// or on this very machine. Open the page that way",
  };

  const tell = reason => {
    for (const recorder of document.querySelectorAll("#recording, #live")) {
      recorder.querySelector(".microphone-refused")?.remove();
      if (!reason || !recorder.offsetParent) continue; // on the tab that isn't shown
      const said = document.createElement("p");
      said.className = "microphone-refused";
      said.setAttribute("role", "alert");
      const instead = recorder.id === "recording" ? ", or upload a sound file" : "";
      said.textContent = `${REASONS[reason] ?? REASONS.NotReadableError}${instead}.`;
      recorder.append(said);
    }
  };

  const devices = navigator.mediaDevices;
  if (!devices) {
    document.addEventListener("click", event => event.target.closest(".record-button") && tell("insecure"), true);
    return;
  }
  const ask = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async wanted => {
    try {
      const stream = await ask(wanted);
      tell(null);
      return stream;
    } catch (error) {
      tell(error.name);
      throw error;
    }
  };
})();
