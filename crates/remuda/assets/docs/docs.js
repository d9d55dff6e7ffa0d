"use strict";
// Shows the OpenAPI document of this address. Every text goes in as text, never as markup.
(() => {
  const METHODS = ["get", "post", "put", "patch", "delete"];
  let schemas = {};

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  };
  const code = (text) => make("code", {}, text);
  const nameOf = (reference) => reference.split("/").pop();
  const resolve = (schema) => (schema && schema.$ref ? schemas[nameOf(schema.$ref)] || {} : schema || {});

  /** Names a type in a few words. */
  const typeOf = (schema) => {
    if (!schema) return "anything";
    if (schema.$ref) return nameOf(schema.$ref);
    const parts = schema.oneOf || schema.anyOf || schema.allOf;
    if (parts) return parts.map(typeOf).join(schema.allOf ? " and " : " or ");
    if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
    const types = [].concat(schema.type || "anything");
    const named = types.map((type) => (type === "array" ? `${typeOf(schema.items)}[]` : type));
    return named.join(" or ") + (schema.format ? ` (${schema.format})` : "");
  };

  const bounds = (schema) => {
    const known = { minimum: "at least", maximum: "at most", minLength: "characters at least", maxLength: "characters at most", minItems: "items at least", maxItems: "items at most", pattern: "pattern" };
    return Object.entries(known).filter(([key]) => schema[key] !== undefined).map(([key, words]) => `${words} ${schema[key]}`).join(", ");
  };

  /** Gathers the fields of an object, also where it is put together. */
  const fieldsOf = (schema, depth = 0) => {
    const whole = resolve(schema);
    if (depth > 4) return { properties: {}, required: [] };
    const parts = (whole.allOf || []).map((part) => fieldsOf(part, depth + 1));
    return {
      properties: Object.assign({}, ...parts.map((part) => part.properties), whole.properties || {}),
      required: parts.flatMap((part) => part.required).concat(whole.required || []),
    };
  };

  const fieldsTable = (schema, depth = 0) => {
    const whole = resolve(schema);
    const listed = whole.properties && whole.properties.items ? whole.properties.items.items : null;
    const { properties, required } = fieldsOf(schema);
    const names = Object.keys(properties);
    if (names.length === 0) return make("p", {}, code(typeOf(schema)), ` ${whole.description || ""}`);
    const rows = names.map((name) => {
      const field = properties[name];
      const about = field.description || resolve(field).description || "";
      const limits = bounds(field);
      return make("tr", {}, make("td", {}, code(name), required.includes(name) ? " *" : ""), make("td", {}, typeOf(field)), make("td", {}, about, limits ? ` (${limits})` : ""));
    });
    const table = make("table", {}, make("tr", {}, make("th", {}, "field"), make("th", {}, "type"), make("th", {}, "meaning")), ...rows);
    if (!listed || depth > 0) return table;
    return make("div", {}, table, make("p", {}, "Each item:"), fieldsTable(listed, depth + 1));
  };

  const parametersTable = (parameters) => {
    const rows = parameters.map((parameter) => {
      const schema = parameter.schema || {};
      const limits = bounds(schema);
      return make("tr", {}, make("td", {}, code(parameter.name), parameter.required ? " *" : ""), make("td", {}, parameter.in), make("td", {}, typeOf(schema)), make("td", {}, parameter.description || "", limits ? ` (${limits})` : ""));
    });
    return make("table", {}, make("tr", {}, make("th", {}, "parameter"), make("th", {}, "where"), make("th", {}, "type"), make("th", {}, "meaning")), ...rows);
  };

  const answers = (responses) => {
    const shown = make("div", {});
    for (const [status, answer] of Object.entries(responses)) {
      const content = Object.entries(answer.content || {});
      const summary = make("summary", {}, code(status), ` ${answer.description || ""}`);
      const details = make("details", {}, summary);
      for (const [type, body] of content) details.append(make("p", {}, code(type)), fieldsTable(body.schema));
      if (content.length === 0) details.append(make("p", {}, "No body."));
      shown.append(details);
    }
    return shown;
  };

  const example = (schema, depth = 0) => {
    const whole = resolve(schema);
    if (whole.example !== undefined) return whole.example;
    if (whole.enum) return whole.enum[0];
    const { properties, required } = fieldsOf(schema);
    if (Object.keys(properties).length > 0 && depth < 4) {
      const wanted = required.length > 0 ? required : Object.keys(properties);
      return Object.fromEntries(wanted.map((name) => [name, example(properties[name], depth + 1)]));
    }
    return { string: "", integer: 0, number: 0, boolean: false, array: [] }[[].concat(whole.type)[0]] ?? null;
  };

  /** A form that sends the request with the pasted credential. */
  const trial = (method, path, operation) => {
    const inputs = (operation.parameters || []).map((parameter) => [parameter, make("input", { placeholder: parameter.name, "aria-label": parameter.name })]);
    const bodySchema = operation.requestBody && Object.values(operation.requestBody.content || {})[0];
    const body = bodySchema ? make("textarea", { "aria-label": "body", spellcheck: "false" }) : null;
    if (body) body.value = JSON.stringify(example(bodySchema.schema), null, 2);
    const output = make("pre", { hidden: "" });
    const button = make("button", { type: "button" }, "Send");
    button.addEventListener("click", async () => {
      let address = path;
      const query = new URLSearchParams();
      const headers = {};
      for (const [parameter, input] of inputs) {
        if (parameter.in === "path") address = address.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
        else if (input.value !== "" && parameter.in === "query") query.set(parameter.name, input.value);
        else if (input.value !== "") headers[parameter.name] = input.value;
      }
      const token = document.getElementById("token").value.trim();
      if (token) headers.Authorization = `Bearer ${token}`;
      if (body) headers["Content-Type"] = "application/json";
      output.hidden = false;
      output.textContent = "…";
      try {
        const suffix = query.size > 0 ? `?${query}` : "";
        const response = await fetch(address + suffix, { method: method.toUpperCase(), headers, body: body ? body.value : undefined });
        const text = await response.text();
        let shown = text;
        try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* Not JSON: shown as it came. */ }
        output.textContent = `${response.status} ${response.statusText}\n\n${shown}`;
      } catch (error) {
        output.textContent = `The request was not sent: ${error.message}`;
      }
    });
    return make("details", {}, make("summary", {}, "Try it"), ...inputs.map(([, input]) => input), body, make("p", {}, button), output);
  };

  const article = (method, path, operation) => {
    const open = operation.security && operation.security.length > 0 ? "" : " · without a credential";
    const shown = make("article", { id: operation.operationId },
      make("div", { class: "head" }, make("span", { class: `method ${method}` }, method), make("span", { class: "path" }, path)),
      make("h3", {}, (operation.summary || operation.operationId) + open));
    for (const text of (operation.description || "").split("\n\n")) if (text.trim()) shown.append(make("p", {}, text));
    if ((operation.parameters || []).length > 0) shown.append(parametersTable(operation.parameters));
    const body = operation.requestBody && Object.values(operation.requestBody.content || {})[0];
    if (body) shown.append(make("p", {}, "Body: ", code(typeOf(body.schema))), fieldsTable(body.schema));
    shown.append(make("p", {}, "Answers:"), answers(operation.responses || {}), trial(method, path, operation));
    return shown;
  };

  const show = (description) => {
    schemas = (description.components && description.components.schemas) || {};
    document.getElementById("about").textContent = `${description.info.description || ""} Version ${description.info.version}.`;
    const index = document.getElementById("index");
    const list = document.getElementById("operations");
    const groups = new Map((description.tags || []).map((tag) => [tag.name, { tag, items: [] }]));
    for (const [path, item] of Object.entries(description.paths)) {
      for (const method of METHODS.filter((name) => item[name])) {
        const name = (item[method].tags || ["other"])[0];
        if (!groups.has(name)) groups.set(name, { tag: { name }, items: [] });
        groups.get(name).items.push([method, path, item[method]]);
      }
    }
    const searchable = [];
    for (const { tag, items } of groups.values()) {
      if (items.length === 0) continue;
      index.append(make("h2", {}, tag.name));
      list.append(make("h2", {}, tag.name), make("p", {}, tag.description || ""));
      for (const [method, path, operation] of items) {
        const link = make("a", { href: `#${operation.operationId}` }, make("span", { class: `method ${method}` }, method), make("span", {}, operation.summary || path));
        const shown = article(method, path, operation);
        index.append(link);
        list.append(shown);
        searchable.push([`${method} ${path} ${operation.summary || ""} ${operation.operationId}`.toLowerCase(), link, shown]);
      }
    }
    document.getElementById("search").addEventListener("input", (event) => {
      const wanted = event.target.value.trim().toLowerCase();
      for (const [text, link, shown] of searchable) link.hidden = shown.hidden = !text.includes(wanted);
    });
    if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  };

  fetch("/api/v1/openapi.json")
    .then((response) => response.json())
    .then(show)
    .catch((error) => { document.getElementById("about").textContent = `The description could not be read: ${error.message}`; });
})();
