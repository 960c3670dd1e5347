// Conditions on runs as a person types them, `config.lr < 0.1`, and the two forms they are kept
// in: MongoDB's language, which the server's lists take, and the tree of a report's set of runs.

export type Operator = "=" | "!=" | "<" | "<=" | ">" | ">=";
export type Value = string | number | boolean | null;

export interface Condition {
  /** `state`, `tags`, `config.lr`, `summary.loss`: as typed. */
  field: string;
  operator: Operator;
  value: Value;
}

/** A leaf or a branch of a report's filter, as W&B keeps them. */
export interface FilterTree {
  op?: string;
  key?: { section: string; name: string };
  value?: unknown;
  disabled?: boolean;
  filters?: FilterTree[];
}

export type Mongo = Record<string, unknown>;

const MONGO: Record<string, string> = {
  "=": "$eq",
  "==": "$eq",
  "!=": "$ne",
  "<": "$lt",
  "<=": "$lte",
  ">": "$gt",
  ">=": "$gte",
  IN: "$in",
  NIN: "$nin",
};
/** W&B's name of the part of a run that a field is in, and ours. */
const SECTIONS: Record<string, string> = {
  run: "",
  tags: "tags.",
  config: "config.",
  summary: "summary_metrics.",
  keys_info: "keys_info.keys.",
};
const SHAPE = /^\s*("(?:[^"\\]|\\.)*"|[^\s=!<>"][^=!<>]*?)\s*(==|!=|<=|>=|=|<|>)\s*(.*?)\s*$/s;
const PLAIN_FIELDS = new Set([
  ..."name displayName display_name state group jobType job_type username user host sweep".split(
    " ",
  ),
  ..."notes description commit duration createdAt created_at heartbeatAt heartbeat_at".split(" "),
]);

/** Reads one condition. Throws an Error whose message says what is wrong with it. */
export function parseCondition(text: string): Condition {
  const found = SHAPE.exec(text);
  const [, rawField = "", operator = "", rawValue = ""] = found ?? [];
  if (!found || rawValue === "")
    throw new Error(`“${text.trim()}” is not a condition; write e.g. config.lr < 0.1`);
  const field = rawField.startsWith('"') ? (JSON.parse(rawField) as string) : rawField;
  mongoField(field);
  return {
    field,
    operator: (operator === "==" ? "=" : operator) as Operator,
    value: parseValue(rawValue),
  };
}

/** A number, true, false, null, or text; text in quotes stays text whatever it looks like. */
export function parseValue(text: string): Value {
  if (/^".*"$|^'.*'$/s.test(text)) return text.slice(1, -1);
  const words: Record<string, Value> = {
    true: true,
    True: true,
    false: false,
    False: false,
    null: null,
    None: null,
  };
  if (Object.hasOwn(words, text)) return words[text] ?? null;
  const number = Number(text);
  return text !== "" && Number.isFinite(number) ? number : text;
}

export function conditionText({ field, operator, value }: Condition): string {
  const ambiguous =
    typeof value === "string" && (parseValue(value) !== value || value.includes(","));
  return `${field} ${operator} ${ambiguous ? JSON.stringify(value) : String(value)}`;
}

/** Conditions that must all hold, separated by commas outside quotes or by line breaks. */
export function parseConditions(text: string): Condition[] {
  const parts = text.match(/(?:"(?:[^"\\]|\\.)*"|'[^']*'|[^,\n"'])+/g) ?? [];
  return parts.filter((part) => part.trim() !== "").map(parseCondition);
}

/** Our name of a field in the server's language. Throws an Error for one that there is not. */
export function mongoField(field: string): string {
  if (field === "tag" || field === "tags") return "tags";
  if (/^summary\..+/.test(field)) return `summary_metrics.${field.slice("summary.".length)}`;
  if (/^(config|summary_metrics)\..+/.test(field) || PLAIN_FIELDS.has(field)) return field;
  throw new Error(
    `There is no field “${field}”; write config.KEY, summary.KEY, tag, state, user …`,
  );
}

export function toMongo(conditions: readonly Condition[]): Mongo {
  const parts = conditions.map(({ field, operator, value }) => ({
    [mongoField(field)]: operator === "=" ? value : { [MONGO[operator] ?? "$eq"]: value },
  }));
  return parts.length === 0 ? {} : { $and: parts };
}

export function toTree(conditions: readonly Condition[]): FilterTree {
  const filters = conditions.map(({ field, operator, value }): FilterTree => {
    const dot =
      field.startsWith("config.") || field.startsWith("summary") ? field.indexOf(".") : -1;
    const section = dot < 0 ? "run" : field.startsWith("config.") ? "config" : "summary";
    const name = dot < 0 ? mongoField(field) : field.slice(dot + 1);
    return { op: operator, key: { section, name }, value, disabled: false };
  });
  return { op: "OR", filters: [{ op: "AND", filters }] };
}

/** The conditions of a tree that is one list of them; null for any other. */
export function fromTree(tree: FilterTree | undefined): Condition[] | null {
  if (tree === undefined || tree.op === undefined) return [];
  if (tree.filters === undefined) {
    const [section, name] = [tree.key?.section ?? "", tree.key?.name ?? ""];
    const field = { run: name, config: `config.${name}`, summary: `summary.${name}` }[section];
    const value = tree.value;
    const scalar = value === null || ["string", "number", "boolean"].includes(typeof value);
    const operator = tree.op === "==" ? "=" : tree.op;
    if (field === undefined || !scalar || value === "*" || !(operator in MONGO)) return null;
    return [
      {
        field: field === "tags" ? "tag" : field,
        operator: operator as Operator,
        value: value as Value,
      },
    ];
  }
  const parts = tree.filters.filter((part) => !part.disabled).map(fromTree);
  if (tree.op !== "AND" && parts.length > 1) return null;
  return parts.some((part) => part === null) ? null : parts.flatMap((part) => part ?? []);
}

/** A report's filter in the server's language. Throws an Error for an operator that it lacks. */
export function treeToMongo(tree: FilterTree | undefined): Mongo {
  if (tree?.op === undefined) return {};
  const join = { AND: "$and", OR: "$or" }[tree.op];
  if (join !== undefined) {
    const parts = (tree.filters ?? []).filter((part) => !part.disabled).map(treeToMongo);
    return parts.length === 0 ? {} : { [join]: parts };
  }
  const prefix = SECTIONS[tree.key?.section ?? ""];
  const operator = MONGO[tree.op];
  if (prefix === undefined || operator === undefined)
    throw new Error(`This report filters runs by “${tree.op}”, which is not known here.`);
  const field = prefix + (tree.key?.name ?? "");
  if (operator === "$eq" && tree.value === "*") return { [field]: { $exists: true } };
  return { [field]: { [operator]: tree.value } };
}
