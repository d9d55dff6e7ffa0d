// One job: how far it is, and its answer as it comes.

import { ApiError, get, open } from "../core/api.js";
import { h } from "../core/dom.js";
import { count, moment, when } from "../core/format.js";
import { lines } from "../core/ndjson.js";
import { go, link } from "../core/router.js";
import { copyable, copyButton } from "../widgets/copy.js";
import { badge, card, facts, failure, heading, loading, notice } from "../widgets/state.js";
import { cancel, drop, ended } from "./jobs.js";
import { requestLink } from "./request.js";

const AGAIN_MS = 1_000;
const CHANNELS = { content: "content", thinking: "thinking" };

export default {
  title: "Job",
  needs: "inference",
  open(view) {
    const path = `/api/v1/inference/jobs/${encodeURIComponent(view.params.id)}`;
    let [job, answer, following] = [null, { content: "", thinking: "" }, false];
    const hurry = view.every(5_000, async (signal) => {
      job = await get(path, {}, { signal });
      if (!following) follow(signal);
    });
    /** Reads the answer piece by piece; after an interruption it goes on where it stopped. */
    const follow = async (signal) => {
      following = true;
      let last = "0";
      while (!signal.aborted) {
        try {
          const response = await open("GET", `${path}/events`, { headers: { "last-event-id": last, accept: "text/event-stream" }, signal });
          if (response.status === 204) break;
          let kind = "message";
          for await (const line of lines(response)) {
            const [field, value] = parted(line);
            if (field === "event") kind = value;
            else if (field === "id") last = value;
            else if (field === "data") {
              if (kind === "restarted") answer = { content: "", thinking: "" };
              else if (kind === "output") for (const { channel, text } of JSON.parse(value).output) if (CHANNELS[channel]) answer[channel] += text;
              else if (kind !== "message") hurry();
              view.refresh();
            }
          }
        } catch (error) {
          if (error.name === "AbortError" || (error instanceof ApiError && error.status >= 400 && error.status < 500)) break;
        }
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    };
    const gone = () => go(link("/jobs"));
    view.draw = () => [
      heading(job?.model ?? "Job", {
        back: { href: link("/jobs"), label: "Jobs" },
        sub: job && [badge(job.state), ` ${moment(job.created_at)}`],
        actions: job && [ended(job)
          ? h("button", { class: "button danger-quiet", type: "button", onclick: () => drop(job, gone) }, "Delete")
          : h("button", { class: "button danger-quiet", type: "button", onclick: () => cancel(job, hurry) }, "Cancel")],
      }),
      view.error && failure(view.error, hurry),
      job ? shown(job, answer) : !view.error && loading(),
    ];
  },
};

function parted(line) {
  const at = line.indexOf(":");
  return at < 0 ? [line, ""] : [line.slice(0, at), line.slice(at + 1).replace(/^ /, "")];
}

function shown(job, answer) {
  const content = answer.content || (job.result?.message?.content ?? job.result?.response ?? "");
  const thinking = answer.thinking || (job.result?.message?.thinking ?? job.result?.thinking ?? "");
  return [
    job.error && notice(job.state === "failed" ? "bad" : "warn", h("strong", {}, job.state === "failed" ? "It failed. " : "The last attempt came to nothing. "), job.error.message, job.next_attempt_at && [" It is tried again ", when(job.next_attempt_at, "ago"), "."]),
    card("How far it is", {}, facts(
      ["Id", copyable(job.id)], ["Kind", job.kind], ["Class", job.priority], ["Attempt", `${count(job.attempt)} of ${count(job.most_attempts)}`],
      ["Begun", when(job.started_at)], ["Ended", when(job.ended_at)], ["Request", job.request_id && requestLink(job.request_id)])),
    card("Answer", { aside: content && copyButton(content) },
      thinking && h("details", { class: "thinking" }, h("summary", {}, "Thinking"), h("div", { class: "said muted" }, thinking)),
      content ? h("div", { class: "said", "aria-live": "off" }, content) : h("p", { class: "muted" }, ended(job) ? "There is no answer." : "Nothing has been written yet.")),
  ];
}
