// Every page with its address.

import account from "./account.js";
import agents from "./agents.js";
import audit from "./audit.js";
import database from "./database.js";
import embeddings from "./embeddings.js";
import inventory from "./inventory.js";
import invitations from "./invitations.js";
import job from "./job.js";
import jobs from "./jobs.js";
import keys from "./keys.js";
import model from "./model.js";
import models from "./models.js";
import node from "./node.js";
import nodes from "./nodes.js";
import organisations from "./organisations.js";
import overview from "./overview.js";
import people from "./people.js";
import placement from "./placement.js";
import playground from "./playground.js";
import queue from "./queue.js";
import request from "./request.js";
import requests from "./requests.js";
import rollouts from "./rollouts.js";
import settings from "./settings.js";
import simulator from "./simulator.js";
import start from "./start.js";
import usage from "./usage.js";
import widget from "./widget.js";
import work from "./work.js";

export const ROUTES = [
  ["/", start],
  ["/overview", overview],
  ["/nodes", nodes],
  ["/nodes/:name", node],
  ["/agents", agents],
  ["/models", models],
  ["/models/:name", model],
  ["/placement", placement],
  ["/rollouts", rollouts],
  ["/queue", queue],
  ["/requests", requests],
  ["/requests/:id", request],
  ["/usage", usage],
  ["/simulator", simulator],
  ["/playground", playground],
  ["/embeddings", embeddings],
  ["/jobs", jobs],
  ["/jobs/:id", job],
  ["/keys", keys],
  ["/people", people],
  ["/invitations", invitations],
  ["/organisations", organisations],
  ["/audit", audit],
  ["/inventory", inventory],
  ["/inventory/:serial", widget],
  ["/settings", settings],
  ["/work", work],
  ["/database", database],
  ["/account", account],
];
