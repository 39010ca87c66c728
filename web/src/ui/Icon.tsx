/** Line icons of one weight; they say nothing that the text beside them does not, so they are hidden from readers. */
const PATHS = {
  overview: "M3 13V8m4.5 5V3M12 13V6m4.500 7V9.500",
  jobs: "M3 4.500h14M3 9h14M3 13.500h9",
  workers: "M3 3.500h14v5H3zM3 11h14v5H3zM6 6h.01M6 13.500h.01",
  plus: "M9.500 3.500v12M3.500 9.500h12",
  copy: "M7 7V3.500h9.500V13H13M3.500 7H13v9.500H3.500z",
  sun: "M10 6.500a3.500 3.500 0 1 0 0 7 3.500 3.500 0 0 0 0-7zM10 1.500v2M10 16.500v2M1.500 10h2M16.500 10h2M4 4l1.400 1.400M14.600 14.600 16 16M4 16l1.400-1.400M14.600 5.400 16 4",
  moon: "M16 12.500A7 7 0 0 1 7.500 4a7 7 0 1 0 8.500 8.500z",
  system: "M3 4h14v9H3zM7 16.500h6",
  warning: "M10 3 18 17H2zM10 8v4M10 14.500h.01",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg className="icon" viewBox="0 0 20 20" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
