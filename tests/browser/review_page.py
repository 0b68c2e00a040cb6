"""The page on which a coder reviews: Label Studio's label stream, worked by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from playwright.sync_api import Locator, Page, Response, expect

from tests.browser.reviewing import ReviewProject

SUBMIT, SKIP = "Control+Enter", "Control+Space"
FARTHEST_TAB = 80


class ReviewPage:
    """The label stream of a project, as a coder reaches it: log in, open the project, label all tasks.

    ``keys`` counts the keys that the coder pressed since the page was opened. ``coder`` is another account's email and
    password than that of the server's own user.
    """

    def __init__(self, page: Page, review: ReviewProject, coder: tuple[str, str] | None = None) -> None:
        self.page = page
        self.keys = 0
        self.candidates = page.locator(".winnow-candidates .lsf-choice")
        self.flags = page.locator(".winnow-flags .lsf-choice")
        self.codebook = page.locator(".winnow-codebook .lsf-choice")
        self.slots = page.locator(".winnow-slot").filter(has=page.locator(".lsf-choice"))
        self.taxonomy = page.locator(".winnow-taxonomy input").first
        server = review.server
        email, password = coder or (server.username, server.password)
        page.goto(f"{server.url}/user/login/")
        page.locator("input[name=email]").fill(email)
        page.locator("input[name=password]").fill(password)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{server.url}/")
        self.open(review)

    def open(self, review: ReviewProject) -> None:
        """Open the project's label stream."""
        self.page.goto(f"{review.server.url}/projects/{review.project.id}/data")
        self.page.get_by_role("button", name="Label All Tasks").click()

    # --- what the page shows ----------------------------------------------------------------------------------------

    def shows(self, text: str) -> None:
        """Wait until the document with this text is on the page, its form complete."""
        expect(self.page.locator(".winnow-text")).to_contain_text(text)
        expect(self.flags.last).to_be_visible()

    def leaves(self, text: str) -> None:
        """Wait until another document is on the page than that with this text."""
        expect(self.page.locator(".winnow-text")).not_to_contain_text(text)
        expect(self.flags.last).to_be_visible()

    def candidate(self, name: str) -> Locator:
        """The box of one candidate."""
        return self.candidates.filter(has=self.page.locator(".winnow-name", has_text=name))

    def names(self) -> list[str]:
        """Names of the candidates, from top to bottom."""
        return self.candidates.locator(".winnow-name").all_inner_texts()

    def code(self, name: str) -> Locator:
        """The box of one code in the whole codebook."""
        return self.codebook.filter(has=self.page.locator(f'input[name="{name}"]'))

    def level(self, code: str, level: str) -> Locator:
        """The box of one level of a code, in the form for graded codebooks."""
        slot = self.slots.filter(has_text=code)
        return slot.locator(".lsf-choice").filter(has=self.page.locator(".winnow-name", has_text=level))

    def flag(self, text: str) -> Locator:
        """The box of one flag."""
        return self.flags.filter(has_text=text)

    def sources(self, name: str) -> list[str]:
        """What the page says of who proposed a candidate."""
        return self.candidate(name).locator(".winnow-who").all_inner_texts()

    def expect_in_sight(self) -> None:
        """Check that nothing of the form is hidden below the bar with the buttons, and that the bar is on the screen.

        The document and, at most, the codebook scroll inside of their own boxes.
        """
        bar, form = (self.page.locator(place).bounding_box() for place in (".lsf-bottombar", ".winnow"))
        screen = self.page.viewport_size
        assert bar
        assert form
        assert screen
        assert bar["y"] + bar["height"] <= screen["height"]
        expect(self.page.get_by_role("button", name="Submit current annotation")).to_be_in_viewport(ratio=1)
        for box in self.flags.filter(visible=True).all():
            expect(box).to_be_in_viewport(ratio=1)
        assert form["y"] + form["height"] <= bar["y"], f"{form['y'] + form['height'] - bar['y']:.0f} pixels too many"

    # --- what the coder does ----------------------------------------------------------------------------------------

    def press(self, *keys: str) -> None:
        """Press these keys one after the other."""
        for key in keys:
            self.page.keyboard.press(key)
            self.keys += 1

    def tick(self, choice: Locator) -> None:
        """Tick or un-tick a choice by the key that the page shows beside it."""
        box = choice.locator("input")
        ticked = box.is_checked()
        self.press(choice.locator(".lsf-hint").inner_text().strip("[]"))
        expect(box).to_be_checked(checked=not ticked)

    def look_up(self, words: str, down: int) -> None:
        """Search the Taxonomy and take what is ``down`` lines below the first that is found."""
        self.tab_to(self.taxonomy)
        self.press("ArrowDown")
        search = self.page.get_by_test_id("taxonomy-search")
        expect(search).to_be_focused()
        self.press(*words)
        found = self.page.locator(".ant-select-tree-treenode:visible", has_text=words)
        expect(found).to_have_count(1)
        self.press(*["ArrowDown"] * (down + 1), "Enter")
        expect(self.page.locator(".winnow-taxonomy .ant-select-selection-item", has_text=words)).to_be_visible()
        self.press("Escape")
        expect(search).to_be_hidden()

    def tab_to(self, target: Locator) -> None:
        """Go to a control of the page by the tab key."""
        for _ in range(FARTHEST_TAB):
            self.press("Tab")
            if target.evaluate("element => element === document.activeElement"):
                return
        raise AssertionError("the tab key does not lead there")

    def submit(self) -> None:
        """Submit a new annotation, or what was changed in an old one; return when Label Studio has it."""
        self._send(SUBMIT, {"POST": 201, "PATCH": 200})

    def skip(self) -> None:
        """Skip the document; return when Label Studio knows."""
        self._send(SKIP, {"POST": 201})

    def back(self) -> None:
        """Go to the document before."""
        self.tab_to(self.page.get_by_role("button", name="Previous task"))
        self.press("Space")  # Label Studio keeps the enter key for regions

    def forward(self) -> None:
        """Go to the document after one that was gone back to."""
        self.tab_to(self.page.get_by_role("button", name="Next task"))
        self.press("Space")

    def draft(self, act: Callable[[], None]) -> None:
        """Do this, wait until Label Studio has the draft, and reload the page."""
        with self.page.expect_response(_is_a_draft) as answer:
            act()
        assert answer.value.ok
        self.page.reload()

    def _send(self, key: str, expected: dict[str, int]) -> None:
        with self.page.expect_response(_is_an_annotation) as answer:
            self.press(key)
        said = answer.value
        assert said.status == expected[said.request.method], f"{said.status} {said.text()}"


def _is_an_annotation(response: Response) -> bool:
    return (
        response.request.method in ("POST", "PATCH") and "/annotations" in response.url and "draft" not in response.url
    )


def _is_a_draft(response: Response) -> bool:
    return response.request.method in ("POST", "PATCH") and "/drafts" in response.url


def keys_shown(choices: Sequence[Locator]) -> list[str]:
    """The keys that the page shows beside choices."""
    return [choice.locator(".lsf-hint").inner_text().strip("[]") for choice in choices]
