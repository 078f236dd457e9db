/** Shapes of the API's answers, for those who read and check this code; there is nothing to run here.
 * Times are nanoseconds, windows are `[start, end]`. The structs behind them: `aetia.model.diagnosis`, `report.exhibits`.
 *
 * @typedef {[number, number]} Window
 * @typedef {{level: string, name: string, service?: string, instance?: string, node?: string, operation?: string,
 *   caller?: string, callee?: string}} Entity
 * @typedef {{what: string, direction: string, magnitude: number, unit: string, onset_ns: number | null, text: string}} Claim
 * @typedef {{channel: string, args: Record<string, any>, kind?: string, incident?: Window,
 *   baselines?: Record<string, Window[]>}} Query
 * @typedef {{id: string, about: Entity, claim: Claim, polarity: "for" | "against", strength: number, query: Query,
 *   result: Record<string, any>, digest: string, fault_class: string | null, own: boolean | null}} Evidence
 * @typedef {{abnormal: boolean | null, abnormal_by: string[], fault_class: string | null, severity: number | null,
 *   triage_by: string[], origin: boolean | null, origin_by: string[], conflicts: string[]}} Assessment
 * @typedef {{entity: Entity, score: number, probability: number | null, fault_class: string | null, fault: string | null,
 *   onset_ns: number | null, evidence: string[], against: string[], verdict: string, reason: string,
 *   assessment: Assessment | null}} Hypothesis
 * @typedef {{entry: Entity, sli: string, statistic: string, baseline: number, incident: number, onset_ns: number,
 *   p_value: number, requests: number, affected: number, unit: string | null, evidence: string | null}} Breach
 * @typedef {{baseline: Window, window: Window, onset_ns: number, breaches: Breach[], given: boolean}} Incident
 * @typedef {{source: string, target: string, relation: string, onset_ns: number | null, evidence: string | null}} Hop
 * @typedef {{text: string, evidence: string[]}} Fact
 * @typedef {{level: string, share: number | null, lasts: boolean | null, until_ns: number | null, trend: string | null,
 *   facts: Fact[]}} Severity
 * @typedef {{id: string, candidate: string, component: string, fault_class: string | null, fault: string | null,
 *   happened_ns: number, likeness: number, weight: number, remedies: Array<{action: string, worked: boolean}>}} Precedent
 * @typedef {{schema: string, localizer: string, incident: Incident | null, hypotheses: Hypothesis[], roots: number[],
 *   evidence: Evidence[], propagation: Hop[], impact: {entries: string[], requests: number, affected: number,
 *   evidence: string | null}, severity: Severity | null, rejected: Hypothesis[], abstained: string | null,
 *   missing: string[], silent: Record<string, string>, dropped: Array<{table: string, rows: number, reason: string}>,
 *   cost: {seconds: number, rows: Record<string, number>, tokens: number}, precedents: Precedent[]}} Diagnosis
 *
 * @typedef {{name: string, root: boolean, on_path: boolean, entry: boolean, external: boolean,
 *   probability: number | null, rank: number | null}} GraphNode
 * @typedef {{caller: number, callee: number, calls: number, spread: boolean, backwards: boolean}} GraphEdge
 * @typedef {{nodes: GraphNode[], edges: GraphEdge[], hidden: number}} CallGraph
 * @typedef {{service: string, operation: string, depth: number, start_ns: number, duration_ns: number, error: boolean,
 *   blamed: boolean, critical: Array<[number, number]>}} TraceRow
 * @typedef {{kind: "bad" | "good", rows: TraceRow[], hidden: number, start_ns: number, duration_ns: number,
 *   errors: number, trace_id: string}} ExampleTrace
 * @typedef {{text: string, services: string[], severity: number, count: number, expected: number,
 *   appeared: boolean, start_ns: number, step_ns: number, counts: number[]}} ChangedTemplate
 * @typedef {{title: string, chart: [number, number, string, Array<number | null>]}} Timeline
 * @typedef {{graph?: CallGraph | null, traces?: ExampleTrace[], templates?: ChangedTemplate[],
 *   timelines?: Timeline[]}} Exhibits
 *
 * @typedef {{time_ns: number, kind: string, service: string | null, description: string | null,
 *   attributes?: string | null}} Change
 * @typedef {{at_ns: number, kind: "root" | "hop" | "hurt", service: string, text: string, from: string | null,
 *   evidence: string | null, within_ns: number}} Step one step of the fault; `within_ns`: how exactly its time is known
 * @typedef {{number: number, at_ns: number, wish: "exclude" | "look_at", entity: string, by: string}} Wish
 * @typedef {{revision: number, at_ns: number, why: string, roots: string[], level: string | null,
 *   fault_class: string | null, fault: string | null, probability: number | null, abstained: string | null,
 *   severity: string | null, seconds: number, failed: string}} Summary
 */

export {};
