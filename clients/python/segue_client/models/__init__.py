"""Contains all the data models used in inputs/outputs"""

from .accepted import Accepted
from .arm_body import ArmBody
from .bundle import Bundle
from .bundle_metrics import BundleMetrics
from .channel_body import ChannelBody
from .context import Context
from .edge_body import EdgeBody
from .erasing import Erasing
from .event import Event
from .field_problem import FieldProblem
from .filtered_body import FilteredBody
from .get_recommendations_repeats import GetRecommendationsRepeats
from .health import Health
from .history_entry import HistoryEntry
from .impression import Impression
from .item import Item
from .item_attributes_type_0 import ItemAttributesType0
from .item_body import ItemBody
from .item_body_catalogue_type_0 import ItemBodyCatalogueType0
from .item_demand import ItemDemand
from .item_edges import ItemEdges
from .item_ref import ItemRef
from .list_body import ListBody
from .list_body_positions import ListBodyPositions
from .list_context import ListContext
from .list_of_user import ListOfUser
from .list_of_user_positions import ListOfUserPositions
from .many_lists import ManyLists
from .market_demand import MarketDemand
from .near_body import NearBody
from .neighbour_body import NeighbourBody
from .pinning import Pinning
from .place import Place
from .policy_apply import PolicyApply
from .policy_checked import PolicyChecked
from .policy_fault import PolicyFault
from .policy_of_list import PolicyOfList
from .policy_preview import PolicyPreview
from .policy_text import PolicyText
from .policy_undo import PolicyUndo
from .policy_version import PolicyVersion
from .policy_words import PolicyWords
from .policy_words_attributes import PolicyWordsAttributes
from .policy_written import PolicyWritten
from .preview_change import PreviewChange
from .preview_effect import PreviewEffect
from .preview_of_list import PreviewOfList
from .preview_of_user import PreviewOfUser
from .preview_of_user_lists import PreviewOfUserLists
from .previewed import Previewed
from .previewed_lists import PreviewedLists
from .problem_body import ProblemBody
from .receipt_body import ReceiptBody
from .receipt_body_checkpoints_item import ReceiptBodyCheckpointsItem
from .receipt_body_copies_item import ReceiptBodyCopiesItem
from .receipt_body_count_from import ReceiptBodyCountFrom
from .recommended_body import RecommendedBody
from .rolled_back import RolledBack
from .row_error import RowError
from .rule_body import RuleBody
from .seen import Seen
from .session import Session
from .session_attributes import SessionAttributes
from .session_repeats import SessionRepeats
from .shown_item import ShownItem
from .side_by_side import SideBySide
from .side_by_side_after_item import SideBySideAfterItem
from .side_by_side_before_item import SideBySideBeforeItem
from .similar import Similar
from .user import User
from .user_attributes_type_0 import UserAttributesType0
from .user_body import UserBody
from .user_body_attributes import UserBodyAttributes
from .user_body_positions import UserBodyPositions
from .user_list import UserList
from .user_list_repeats import UserListRepeats
from .user_lists import UserLists
from .user_lists_repeats import UserListsRepeats
from .why_body import WhyBody
from .why_body_parts import WhyBodyParts
from .written import Written

__all__ = (
    "Accepted",
    "ArmBody",
    "Bundle",
    "BundleMetrics",
    "ChannelBody",
    "Context",
    "EdgeBody",
    "Erasing",
    "Event",
    "FieldProblem",
    "FilteredBody",
    "GetRecommendationsRepeats",
    "Health",
    "HistoryEntry",
    "Impression",
    "Item",
    "ItemAttributesType0",
    "ItemBody",
    "ItemBodyCatalogueType0",
    "ItemDemand",
    "ItemEdges",
    "ItemRef",
    "ListBody",
    "ListBodyPositions",
    "ListContext",
    "ListOfUser",
    "ListOfUserPositions",
    "ManyLists",
    "MarketDemand",
    "NearBody",
    "NeighbourBody",
    "Pinning",
    "Place",
    "PolicyApply",
    "PolicyChecked",
    "PolicyFault",
    "PolicyOfList",
    "PolicyPreview",
    "PolicyText",
    "PolicyUndo",
    "PolicyVersion",
    "PolicyWords",
    "PolicyWordsAttributes",
    "PolicyWritten",
    "PreviewChange",
    "PreviewEffect",
    "PreviewOfList",
    "PreviewOfUser",
    "PreviewOfUserLists",
    "Previewed",
    "PreviewedLists",
    "ProblemBody",
    "ReceiptBody",
    "ReceiptBodyCheckpointsItem",
    "ReceiptBodyCopiesItem",
    "ReceiptBodyCountFrom",
    "RecommendedBody",
    "RolledBack",
    "RowError",
    "RuleBody",
    "Seen",
    "Session",
    "SessionAttributes",
    "SessionRepeats",
    "ShownItem",
    "SideBySide",
    "SideBySideAfterItem",
    "SideBySideBeforeItem",
    "Similar",
    "User",
    "UserAttributesType0",
    "UserBody",
    "UserBodyAttributes",
    "UserBodyPositions",
    "UserList",
    "UserListRepeats",
    "UserLists",
    "UserListsRepeats",
    "WhyBody",
    "WhyBodyParts",
    "Written",
)
